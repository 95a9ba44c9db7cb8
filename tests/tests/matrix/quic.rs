//! QUIC through the mesh: a client and a server of ngtcp2, and Caddy, which asks an upstream by HTTP/3.

use crate::datagrams::{Running, run};
use crate::front::SERVER;
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::netns::NetNs;
use kmesh_lite_tests::proxy::{FOUR, Proxy, SIX, Unit, host};
use std::fs;
use std::path::Path;
use std::process::Command;

const ROLE: [&str; 3] = ["client", "UDP", "none"];

const SERVER_SIX: &str = "fd00:1::70";

const MESH: &str = r#"
    [services.pages]
    vips = ["10.96.0.44", "fd00:96::44"]
    ports = ["443:14433/udp"]
    endpoints = ["192.168.1.70", "fd00:1::70"]
"#;

/// A key, a certificate of its own, and a page that takes many datagrams.
fn files(folder: &Path) {
    const REQUEST: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                           -subj /CN=pages.mesh -keyout key.pem -out cert.pem";
    let mut command = Command::new("openssl");
    command.args(REQUEST.split(' '));
    let made = run(command.current_dir(folder));
    assert!(made.status.success(), "{made:?}");
    fs::create_dir(folder.join("pages")).unwrap();
    fs::write(folder.join("pages/page"), page()).unwrap();
}

fn page() -> Vec<u8> {
    (0..500_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// It drops what does not come from the address that it sent to: that would be another path.
#[test]
fn ngtcp2_fetches_a_page_from_a_virtual_address() {
    let program = Program {
        name: "QUIC (ngtcp2)",
        // It says none.
        version: &["true"],
    };
    let needs = ["gtlsclient", "gtlsserver", "openssl"];
    let Some(row) = Row::with(&needs, program, ROLE) else {
        return;
    };
    let Some(host) = host(&[], &[SERVER, SERVER_SIX]) else {
        return;
    };
    // It asks for the route to whom it talks. Any host with a gateway has one.
    for (family, ip) in [("-4", FOUR), ("-6", SIX)] {
        NetNs::ip(&[family, "route", "add", "default", "dev", "lo", "src", ip]).unwrap();
    }
    let mut mesh = host.run(MESH);
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    for (at, to, own) in [
        (SERVER, "10.96.0.44", "v4"),
        (SERVER_SIX, "fd00:96::44", "v6"),
    ] {
        let mut server = Command::new("gtlsserver");
        server.args([
            "--quiet", "--htdocs", "pages", at, "14433", "key.pem", "cert.pem",
        ]);
        let _server = Running::start(server.current_dir(folder.path()));
        let got = folder.path().join(own);
        fs::create_dir(&got).unwrap();
        let mut client = Command::new("gtlsclient");
        client.args(["--quiet", "--exit-on-all-streams-close", "--download"]);
        client
            .arg(&got)
            .args([to, "443", "https://pages.mesh/page"]);
        let output = run(&mut client);
        assert!(output.status.success(), "{to}: {output:?}");
        assert!(fs::read(got.join("page")).unwrap() == page(), "{to}");
    }
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 2);
    row.passed();
}

/// Its upstream is at the address of a service, and it sends many datagrams at once (UDP_SEGMENT) where a request is long.
#[test]
fn caddy_asks_an_upstream_at_a_virtual_address_by_http_3() {
    let program = Program {
        name: "QUIC (Caddy, quic-go)",
        version: &["caddy", "version"],
    };
    let Some(row) = Row::with(&["caddy", "openssl"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["curl"], &[SERVER, SERVER_SIX]) else {
        return;
    };
    let mut mesh = host.run(MESH);
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let path = folder.path().display();
    let front = |port: u16, vip: &str| {
        format!(
            "http://127.0.0.1:{port} {{\n reverse_proxy https://{vip} {{\n header_up Host pages.mesh\n transport http {{\n versions 3\n \
             tls_insecure_skip_verify\n tls_server_name pages.mesh\n }}\n }}\n}}\n"
        )
    };
    let text = format!(
        "{{\n admin off\n auto_https off\n}}\n{}{}https://pages.mesh:14433 {{\n bind {SERVER} {SERVER_SIX}\n \
         tls {path}/cert.pem {path}/key.pem\n header proto {{http.request.proto}}\n respond {{http.request.body}}\n}}\n",
        front(8091, "10.96.0.44"),
        front(8092, "[fd00:96::44]"),
    );
    let file = folder.path().join("Caddyfile");
    fs::write(&file, text).unwrap();
    // What is sent comes back.
    let long = folder.path().join("pages/page");
    let back = folder.path().join("back");
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    // What it keeps of itself.
    command.arg(file).env("HOME", folder.path());
    command.env_remove("XDG_CONFIG_HOME");
    command.env_remove("XDG_DATA_HOME");
    let unit = Unit::inside(&host.cgroup, "caddy");
    let listens = ["127.0.0.1:8091", "127.0.0.1:8092"];
    let _caddy = Proxy::start(unit, folder, &mut command, &listens);
    for at in listens {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--data-binary"]);
        curl.arg(format!("@{}", long.display()));
        curl.arg("--output").arg(&back);
        curl.args(["--write-out", "%header{proto}"]);
        let output = run(curl.arg(format!("http://{at}/")));
        assert_eq!(output.stdout, b"HTTP/3.0", "{output:?}");
        assert!(fs::read(&back).unwrap() == fs::read(&long).unwrap(), "{at}");
    }
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 2);
    row.passed();
}
