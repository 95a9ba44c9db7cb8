//! Programs that speak UDP, over sockets that are connected and over such that are not.

use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const MESH: &str = r#"
    [services.names]
    vips = ["10.96.0.53"]
    ports = ["53:5300/udp", "53:5300"]
    endpoints = ["127.0.0.1"]

    [services.log]
    vips = ["10.96.0.14", "fd00:96::14"]
    ports = ["514:5514/udp"]
    endpoints = ["127.0.0.2", "::1"]
"#;

const ROLE: [&str; 3] = ["client", "UDP", "none"];

/// A host with a name server behind a virtual address; none where a program is missing.
fn served(programs: &[&str]) -> Option<(Host, Dnsmasq, Running)> {
    let host = Host::new()?;
    if !require::programs(&["dnsmasq", "dig"]) || !require::programs(programs) {
        return None;
    }
    let names = Dnsmasq::start("192.168.1.70 web.internal\n", &[]);
    let mesh = host.run(MESH);
    Some((host, names, mesh))
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    ends_with_us(&mut command).output().expect("a program")
}

fn dig(arguments: &[&str]) -> String {
    let output = run(
        "dig",
        &[arguments, &["+short", "+time=5", "+tries=2"]].concat(),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server of datagrams at this address.
fn server(at: &str) -> UdpSocket {
    let server = UdpSocket::bind(at).expect("an address");
    let patience = Some(Duration::from_secs(10));
    server.set_read_timeout(patience).expect("SO_RCVTIMEO");
    server
}

fn text(server: &UdpSocket) -> String {
    let mut bytes = [0; 2048];
    let (length, _) = server.recv_from(&mut bytes).expect("a datagram");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn dig_asks_a_name_server_at_a_virtual_address() {
    let program = Program {
        name: "dig",
        version: &["dig", "-v"],
    };
    let row = Row::of(program, ROLE);
    let Some((_host, _names, _mesh)) = served(&[]) else {
        return;
    };
    for how in ["+notcp", "+tcp"] {
        let answer = dig(&["@10.96.0.53", "web.internal", how]);
        assert_eq!(answer, "192.168.1.70\n", "{how}");
    }
    row.passed();
}

/// It asks over a socket that is not connected, and drops what does not come from whom it asked.
#[test]
fn dnsmasq_forwards_to_a_virtual_address() {
    struct Forwarder(Child);
    impl Drop for Forwarder {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let program = Program {
        name: "dnsmasq",
        version: &["dnsmasq", "--version"],
    };
    let row = Row::of(program, ROLE);
    let Some((_host, _names, _mesh)) = served(&[]) else {
        return;
    };
    let mut command = Command::new("dnsmasq");
    command
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file",
        ])
        .args(["--user=root", "--no-resolv", "--no-hosts", "--no-poll"])
        .args(["--bind-interfaces", "--listen-address=127.0.0.5"])
        .args(["--port=53", "--cache-size=0", "--server=10.96.0.53"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let _forwarder = Forwarder(ends_with_us(&mut command).spawn().expect("dnsmasq"));
    let answers = || dig(&["@127.0.0.5", "web.internal", "+notcp"]) == "192.168.1.70\n";
    assert!(eventually(answers));
    row.passed();
}

/// socat hears nobody but the address that it sends to.
#[test]
fn socat_hears_the_address_that_it_sends_to() {
    let program = Program {
        name: "socat",
        version: &["socat", "-V"],
    };
    let row = Row::of(program, ROLE);
    let Some((_host, _names, _mesh)) = served(&["socat"]) else {
        return;
    };
    for (at, to) in [
        ("127.0.0.2:5514", "UDP-SENDTO:10.96.0.14:514"),
        ("[::1]:5514", "UDP6-SENDTO:[fd00:96::14]:514"),
    ] {
        let server = server(at);
        std::thread::scope(|scope| {
            let answers = scope.spawn(|| {
                let mut bytes = [0; 64];
                let (length, from) = server.recv_from(&mut bytes).expect("a datagram");
                server.send_to(&bytes[..length], from).expect("an answer");
            });
            let mut command = Command::new("socat");
            command.args([
                "-t5",
                "SYSTEM:echo hello; read answer; echo $answer >&2",
                to,
            ]);
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            let socat = ends_with_us(&mut command).output().expect("socat");
            answers.join().unwrap();
            assert_eq!(String::from_utf8_lossy(&socat.stderr), "hello\n", "{to}");
        });
    }
    row.passed();
}

#[test]
fn logger_sends_to_a_virtual_address() {
    let program = Program {
        name: "logger",
        version: &["logger", "--version"],
    };
    let row = Row::of(program, ROLE);
    let Some((_host, _names, _mesh)) = served(&["logger"]) else {
        return;
    };
    for (at, to) in [
        ("127.0.0.2:5514", "10.96.0.14"),
        ("[::1]:5514", "fd00:96::14"),
    ] {
        let server = server(at);
        let logged = run(
            "logger",
            &["-d", "-n", to, "-P", "514", "a line for the log"],
        );
        assert!(logged.status.success(), "{logged:?}");
        let line = text(&server);
        assert!(line.ends_with("a line for the log"), "{line}");
    }
    row.passed();
}
