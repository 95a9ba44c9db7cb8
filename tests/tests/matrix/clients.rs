//! Clients in languages whose runtimes connect in ways of their own: statically linked, without a C
//! library, by mapped addresses, from an event loop. The sources are in `tests/matrix/clients`.

use crate::front::{BEHIND, DIRECT, Front, SERVER};
use kmesh_lite_tests::cgroup;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::proxy::host;
use kmesh_lite_tests::server::{ends_with_us, source};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

const ROLE: [&str; 3] = ["client", "direct, behind HAProxy", "none, proxy-v2"];

pub fn output(command: &mut Command) -> Output {
    let command = ends_with_us(command.stdin(Stdio::null()));
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{output:?}");
    output
}

/// Reads each connection to its end; then says who answers, and sends all of it back. Ends with the
/// test's process.
pub fn keeps(port: u16) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
    thread::spawn(move || {
        cgroup::leave().expect("outside of the test's cgroup");
        while let Ok((stream, _)) = listener.accept() {
            // A client that is gone is told nothing.
            thread::spawn(move || give_back(stream));
        }
    });
}

fn give_back(mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let local = stream.local_addr()?;
    writeln!(stream, "{}:{}", local.ip().to_canonical(), local.port())?;
    stream.write_all(&bytes)
}

/// A client says what it saw of a connection to each virtual address.
fn connects(host: &Host, client: impl Fn() -> Command) {
    keeps(8080);
    let mut front = Front::start(host, "80:8080");
    for vip in [DIRECT, BEHIND].concat() {
        let output = output(client().args([vip, "80"]));
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        let [own, own_port, peer, peer_port, answered, intact] = words[..] else {
            panic!("{vip}: {text}");
        };
        let address = |ip: &str, port: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            SocketAddr::new(ip.to_canonical(), port.parse().unwrap())
        };
        let asked = address(vip, "80");
        assert_eq!(address(peer, peer_port), asked);
        assert_eq!(answered, format!("{SERVER}:8080"), "{vip}");
        assert_eq!(intact, "intact", "{vip}");
        if BEHIND.contains(&vip) {
            let own = address(own, own_port);
            front.haproxy.logs(&format!("client={own} asked={asked} "));
        }
    }
}

pub fn compiled(compiler: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("client");
    let mut command = Command::new(compiler[0]);
    command.args(&compiler[1..]).args(["-O1", "-Wall", "-o"]);
    output(command.arg(&program).arg(source("client.c")));
    (folder, program)
}

/// The client in Go, without a C library.
pub fn built() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("client");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&client);
    command.arg(source("client.go"));
    command.env("CGO_ENABLED", "0");
    command
        .env("HOME", folder.path())
        .env("GOCACHE", folder.path());
    output(&mut command);
    (folder, client)
}

#[test]
fn c_linked_with_glibc_and_without_a_loader() {
    let program = Program {
        name: "C, glibc",
        version: &["ldd", "--version"],
    };
    let Some(row) = Row::with(&["gcc"], program, ROLE) else {
        return;
    };
    for compiler in [&["gcc"][..], &["gcc", "-static"]] {
        let Some(host) = host(&["haproxy"], &[SERVER]) else {
            return;
        };
        let (_folder, program) = compiled(compiler);
        connects(&host, || Command::new(&program));
    }
    row.passed();
}

#[test]
fn c_linked_with_musl() {
    let program = Program {
        name: "C, musl",
        version: &["/lib/ld-musl-x86_64.so.1"],
    };
    let Some(row) = Row::with(&["musl-gcc"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["haproxy"], &[SERVER]) else {
        return;
    };
    let (_folder, program) = compiled(&["musl-gcc", "-static"]);
    connects(&host, || Command::new(&program));
    row.passed();
}

#[test]
fn go_without_a_c_library() {
    let program = Program {
        name: "Go",
        version: &["go", "version"],
    };
    let Some(row) = Row::with(&["go"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["haproxy"], &[SERVER]) else {
        return;
    };
    let (_folder, client) = built();
    connects(&host, || Command::new(&client));
    row.passed();
}

#[test]
fn java_by_mapped_addresses() {
    let program = Program {
        name: "Java",
        version: &["java", "-version"],
    };
    let Some(row) = Row::with(&["java"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["haproxy"], &[SERVER]) else {
        return;
    };
    connects(&host, || {
        let mut command = Command::new("java");
        command.arg(source("Client.java"));
        command
    });
    row.passed();
}

#[test]
fn node_from_its_event_loop() {
    let program = Program {
        name: "Node.js",
        version: &["node", "--version"],
    };
    let Some(row) = Row::with(&["node"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["haproxy"], &[SERVER]) else {
        return;
    };
    connects(&host, || {
        let mut command = Command::new("node");
        command.arg(source("client.js"));
        command
    });
    row.passed();
}

#[test]
fn python() {
    let program = Program {
        name: "Python",
        version: &["python3", "--version"],
    };
    let Some(row) = Row::with(&["python3"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["haproxy"], &[SERVER]) else {
        return;
    };
    connects(&host, || {
        let mut command = Command::new("python3");
        command.arg(source("client.py"));
        command
    });
    row.passed();
}
