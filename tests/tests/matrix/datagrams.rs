//! Programs that speak UDP: logs, time and CoAP, over sockets that are connected and over such that are not.

use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::server::ends_with_us;
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const ROLE: [&str; 3] = ["client", "UDP", "none"];

const MESH: &str = r#"
    [services.log]
    vips = ["10.96.0.14"]
    ports = ["514:5514/udp"]
    endpoints = ["127.0.0.2"]

    [services.time]
    vips = ["10.96.0.123"]
    ports = ["123:1123/udp"]
    endpoints = ["127.0.0.2"]

    [services.things]
    vips = ["10.96.0.56"]
    ports = ["5683:15683/udp"]
    endpoints = ["127.0.0.2"]
"#;

/// A program that runs until this is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        Self(ends_with_us(command).spawn().expect("a program"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> Output {
    let command = ends_with_us(command.stdin(Stdio::null()));
    command.output().expect("a program")
}

/// It names the address with each datagram.
#[test]
fn rsyslog_forwards_to_a_virtual_address() {
    let program = Program {
        name: "rsyslog",
        version: &["rsyslogd", "-v"],
    };
    let Some(row) = Row::with(&["rsyslogd"], program, ROLE) else {
        return;
    };
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let server = UdpSocket::bind("127.0.0.2:5514").unwrap();
    server
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let configuration = r#"
        module(load="imudp")
        input(type="imudp" address="127.0.0.1" port="5515")
        action(type="omfwd" target="10.96.0.14" port="514" protocol="udp")
    "#;
    let file = folder.path().join("rsyslog.conf");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(&file);
    command.arg("-i").arg(folder.path().join("pid"));
    let _rsyslog = Running::start(&mut command);
    let program = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut line = [0; 2048];
    let arrives = || {
        // Nobody listens there at first.
        let _ = program.send_to(b"<13>Jan 1 00:00:00 here test: a line", "127.0.0.1:5515");
        server.recv_from(&mut line).is_ok()
    };
    assert!(eventually(arrives));
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains("test: a line"), "{line}");
    row.passed();
}

/// With a port of its own for all servers, it names the server with each datagram.
#[test]
fn chrony_asks_a_server_at_a_virtual_address_for_the_time() {
    let program = Program {
        name: "chrony",
        version: &["chronyd", "-v"],
    };
    let Some(row) = Row::with(&["chronyd"], program, ROLE) else {
        return;
    };
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let folder = tempfile::tempdir().unwrap();
    let pid = |name: &str| format!("pidfile {}", folder.path().join(name).display());
    let mut server = Command::new("chronyd");
    server.args(["-d", "-x", "-u", "root"]).args([
        "local stratum 8",
        "allow",
        "port 1123",
        "bindaddress 127.0.0.2",
        "cmdport 0",
        "bindcmdaddress /",
        &pid("server"),
    ]);
    let _server = Running::start(&mut server);
    for port in ["acquisitionport 0", "acquisitionport 1124"] {
        let asks = || {
            let mut client = Command::new("chronyd");
            client.args(["-Q", "-t", "10", "-u", "root"]).args([
                "server 10.96.0.123 iburst maxsamples 1",
                port,
                "cmdport 0",
                "bindcmdaddress /",
                &pid("client"),
            ]);
            let output = run(&mut client);
            let said = String::from_utf8_lossy(&output.stderr);
            output.status.success() && said.contains("System clock wrong by")
        };
        // The server may still be at its beginning.
        assert!(asks() || asks(), "{port}");
    }
    row.passed();
}

#[test]
fn a_coap_client_reads_from_a_server_at_a_virtual_address() {
    let program = Program {
        name: "libcoap",
        version: &["coap-client-notls", "-h"],
    };
    let needs = ["coap-client-notls", "coap-server-notls"];
    let Some(row) = Row::with(&needs, program, ROLE) else {
        return;
    };
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let mut server = Command::new("coap-server-notls");
    server.args(["-A", "127.0.0.2", "-p", "15683"]);
    let _server = Running::start(&mut server);
    let reads = || {
        let mut client = Command::new("coap-client-notls");
        client.args(["-B", "5", "-m", "get", "coap://10.96.0.56/"]);
        let output = run(&mut client);
        String::from_utf8_lossy(&output.stdout).contains("test server made with libcoap")
    };
    assert!(eventually(reads));
    row.passed();
}
