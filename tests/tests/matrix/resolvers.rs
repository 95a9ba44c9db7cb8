//! Programs that resolve names over UDP by themselves, with c-ares: it drops an answer that does not
//! come from the address that it asked.

use crate::front::SERVER;
use crate::postgresql::{NOBODY, as_nobody, ask, postgresql, programs};
use kmesh_lite_tests::cgroup;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::proxy::{Proxy, Unit, host};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::chown;
use std::process::{Command, Stdio};
use std::thread;

const ROLE: [&str; 3] = ["client", "UDP to a name server", "none"];

const MESH: &str = r#"
    [services.names]
    vips = ["10.96.0.53"]
    ports = [{ port = 53, target = 5353, protocol = "udp" }]
    endpoints = ["192.168.1.70"]
"#;

/// A name server that knows one address, for whatever it is asked. Ends with the test's process.
fn names() {
    let socket = UdpSocket::bind((SERVER, 5353)).unwrap();
    thread::spawn(move || {
        cgroup::leave().expect("outside of the test's cgroup");
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            // Whoever is gone needs no answer.
            let _ = socket.send_to(&answer(&query[..length]), from);
        }
    });
}

/// The question with 192.168.1.70 for an answer, or with none where another type is asked for.
fn answer(query: &[u8]) -> Vec<u8> {
    // A name, its type and its class follow a header of 12 bytes.
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap();
    let question = &query[12..12 + name + 5];
    let is_address = question[name + 1..] == [0, 1, 0, 1];
    let mut answer = query[..2].to_vec();
    // An answer, without recursion or error: one question, and one record or none.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        // The name of the question, an address, for a minute.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 168, 1, 70]);
    }
    answer
}

#[test]
fn node_resolves_a_name_at_a_virtual_address() {
    let program = Program {
        name: "Node.js (c-ares)",
        version: &["node", "--version"],
    };
    let Some(row) = Row::with(&["node"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&[], &[SERVER]) else {
        return;
    };
    names();
    let _mesh = host.run(MESH);
    let script = r#"
        const { Resolver } = require("dns").promises;
        const resolver = new Resolver({ timeout: 3000, tries: 2 });
        resolver.setServers(["10.96.0.53"]);
        resolver.resolve4("database.example").then(console.log, (error) => {
            console.log(error.code);
        });
    "#;
    let mut command = Command::new("node");
    command.args(["-e", script]).stdin(Stdio::null());
    let output = ends_with_us(&mut command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "[ '192.168.1.70' ]\n", "{output:?}");
    row.passed();
}

#[test]
fn pgbouncer_resolves_a_name_at_a_virtual_address() {
    let program = Program {
        name: "PgBouncer (c-ares)",
        version: &["pgbouncer", "--version"],
    };
    let Some(row) = Row::with(&["pgbouncer"], program, ROLE) else {
        return;
    };
    let Some(bin) = programs() else {
        return require::say("PostgreSQL is not installed");
    };
    let Some(host) = host(&[], &[SERVER]) else {
        return;
    };
    let _server = postgresql(&host, &bin);
    names();
    let _mesh = host.run(MESH);
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let file = folder.path().join("pgbouncer.ini");
    let text = "[databases]\npostgres = host=database.example port=15432 user=shop\n\
                [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 6432\nauth_type = any\n\
                unix_socket_dir =\n";
    fs::write(&file, text).unwrap();
    let resolv = folder.path().join("resolv.conf");
    fs::write(&resolv, "nameserver 10.96.0.53\n").unwrap();
    // With a resolv.conf that nobody else sees.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount --bind \"$0\" \"$(realpath /etc/resolv.conf)\" && exec \"$@\"");
    command.arg(&resolv);
    let pgbouncer = as_nobody("pgbouncer".as_ref());
    command
        .arg(pgbouncer.get_program())
        .args(pgbouncer.get_args());
    command.arg(&file).current_dir("/");
    let place = Unit::inside(&host.cgroup, "pgbouncer");
    let _pool = Proxy::start(place, folder, &mut command, &["127.0.0.1:6432"]);
    let server = ask(&bin, "127.0.0.1", "6432", "SELECT host(inet_server_addr())");
    assert_eq!(server, SERVER);
    row.passed();
}
