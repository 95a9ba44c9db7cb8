//! Programs that speak UDP: logs, time, CoAP, DTLS and SIP, over sockets that are connected and over such that are not.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::echo::Echo;
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
    ports = ["5683:15683/udp", "5684:15684/udp"]
    endpoints = ["127.0.0.2"]

    [services.calls]
    vips = ["10.96.0.60", "fd00:96::60"]
    ports = ["5060:15060/udp"]
    endpoints = ["127.0.0.2", "::1"]

    [services.echo]
    vips = ["10.96.0.7", "fd00:96::7"]
    ports = ["7:7007/udp"]
    endpoints = ["127.0.0.2", "::1"]
"#;

/// A program that runs until this is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
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

pub fn run(command: &mut Command) -> Output {
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

/// The server takes the handshake of nobody who does not know the key.
#[test]
fn a_coap_client_reads_over_dtls_from_a_server_at_a_virtual_address() {
    let program = Program {
        name: "DTLS (libcoap, OpenSSL)",
        version: &["coap-client-openssl", "-h"],
    };
    let needs = ["coap-client-openssl", "coap-server-openssl"];
    let Some(row) = Row::with(&needs, program, ROLE) else {
        return;
    };
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let mut server = Command::new("coap-server-openssl");
    // DTLS is at the port above.
    server.args(["-A", "127.0.0.2", "-p", "15683", "-k", "secret"]);
    let _server = Running::start(&mut server);
    let says = |key: &str| {
        let mut client = Command::new("coap-client-openssl");
        client.args(["-B", "5", "-u", "us", "-k", key, "-m", "get"]);
        let output = run(client.arg("coaps://10.96.0.56/"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(eventually(|| {
        says("secret").contains("test server made with libcoap")
    }));
    assert!(!says("guess").contains("libcoap"));
    row.passed();
}

/// Whole calls: INVITE, ACK and BYE, with the answers to them. Each datagram names the address.
#[test]
fn sipp_calls_somebody_at_a_virtual_address() {
    let program = Program {
        name: "SIPp",
        version: &["sipp", "-v"],
    };
    let Some(row) = Row::with(&["sipp"], program, ROLE) else {
        return;
    };
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let sipp = |own: &str, port: &str, arguments: &[&str]| {
        let mut command = Command::new("sipp");
        // It draws a screen.
        command.env("TERM", "dumb").arg("-nostdin");
        command.args(["-i", own, "-p", port]).args(arguments);
        command
    };
    for (callee, caller, to) in [
        ("127.0.0.2", "127.0.0.1", "10.96.0.60:5060"),
        ("[::1]", "[::1]", "[fd00:96::60]:5060"),
    ] {
        let mut callee = sipp(callee, "15060", &["-sn", "uas"]);
        let _callee = Running::start(&mut callee);
        // What is not answered is sent again, so the other one may still be at its beginning.
        let calls = ["-sn", "uac", to, "-m", "3", "-d", "100", "-timeout", "30"];
        let output = run(&mut sipp(caller, "15061", &calls));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{to}: {text}");
    }
    // One socket for all calls of a caller.
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 2);
    row.passed();
}

/// Its sockets are connected, or name the address with each datagram.
#[test]
fn asyncio_talks_to_a_virtual_address() {
    let program = Program {
        name: "Python asyncio",
        version: &["python3", "--version"],
    };
    let Some(row) = Row::with(&["python3"], program, ROLE) else {
        return;
    };
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let _servers = ["127.0.0.2:7007", "[::1]:7007"].map(Echo::udp);
    let script = r#"
import asyncio

class Answers(asyncio.DatagramProtocol):
    def __init__(self):
        self.all = asyncio.Queue()
    def datagram_received(self, data, sender):
        self.all.put_nowait((data.decode(), sender[0], sender[1]))

async def main():
    loop = asyncio.get_running_loop()
    for ip, own in (("10.96.0.7", "0.0.0.0"), ("fd00:96::7", "::")):
        for options in ({"remote_addr": (ip, 7)}, {"local_addr": (own, 0)}):
            transport, answers = await loop.create_datagram_endpoint(Answers, **options)
            for _ in range(3):
                transport.sendto(b"who?", (ip, 7) if "local_addr" in options else None)
                print(*await asyncio.wait_for(answers.all.get(), 10))
            transport.close()

asyncio.run(main())
"#;
    let output = run(Command::new("python3").args(["-c", script]));
    let text = String::from_utf8_lossy(&output.stdout);
    let four = "127.0.0.2:7007 10.96.0.7 7\n".repeat(6);
    let six = "[::1]:7007 fd00:96::7 7\n".repeat(6);
    assert_eq!(text, four + &six, "{output:?}");
    row.passed();
}
