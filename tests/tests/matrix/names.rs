//! Resolvers of several kinds, and programs with them: names of the mesh and of others lead where they should, both where
//! resolv.conf names the agent and where it names somebody else and questions are captured.

use crate::PROGRAM;
use crate::clients::{built, compiled, keeps, output};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::dig::dig;
use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::require;
use kmesh_lite_tests::resolv_conf::ResolvConf;
use kmesh_lite_tests::server::{Nginx, source};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

const ROLE: [&str; 3] = ["resolver", "listen, capture", "none"];

/// How questions come to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Listen,
    Capture,
}

/// The server that resolv.conf names where questions are captured. What it says of `far.internal` leads nowhere.
const KNOWN: &str = "10.53.0.1";
const NOWHERE: &str = "192.0.2.99";

/// Names, where they lead, and who is there.
const NAMES: [[&str; 3]; 3] = [
    ["four.mesh", "10.96.0.10", "127.0.0.2"],
    ["six.mesh", "fd00:96::10", "127.0.0.2"],
    ["far.internal", "127.0.0.7", "127.0.0.7"],
];

/// A host with those names; servers at ports 8080 and 8081 say who they are.
struct Site {
    conf: ResolvConf,
    // Dropped in this order.
    _daemon: Daemon,
    _servers: (Nginx, [Dnsmasq; 2]),
    _host: Host,
}

impl Site {
    fn of(way: Way) -> Option<Self> {
        let host = Host::new()?;
        if !require::programs(&["dnsmasq", "dig", "nginx", "unshare"]) {
            return None;
        }
        // glibc looks for no IPv6 addresses on a host that has none but loopback.
        host.add(&[KNOWN, "fd53::1"]);
        let ips = [KNOWN.parse::<IpAddr>().unwrap()];
        let known = Dnsmasq::start_at(&ips, 53, &format!("{NOWHERE} far.internal\n"), &[]);
        let upstream = Dnsmasq::start("127.0.0.7 far.internal\n", &[]);
        keeps(8080);
        let nginx = Nginx::start(8081);
        let (key, server) = match way {
            Way::Listen => ("listen = \"127.0.0.1:53\"", "127.0.0.1"),
            Way::Capture => ("capture = \"all\"", KNOWN),
        };
        let service = |name: &str, vip: &str| {
            format!(
                "[services.{name}]\nvips = [\"{vip}\"]\nports = [8080, {{ port = 80, target = 8081, name = \"http\" }}]\n\
                 endpoints = [\"127.0.0.2\"]\n"
            )
        };
        let text = format!(
            "[dns]\n{key}\nupstreams = \"{}\"\n{}{}",
            Dnsmasq::AT,
            service("four", "10.96.0.10"),
            service("six", "fd00:96::10"),
        );
        let mut daemon = Daemon::with_agent(PROGRAM, &host, &limited(&text));
        let at = format!("{server}:53");
        daemon.wait_until("names are answered", |_| {
            let foreign = dig(&at, &["+time=1", "far.internal", "A"]);
            foreign.answers == ["127.0.0.7"]
        });
        Some(Self {
            conf: ResolvConf::of(server),
            _daemon: daemon,
            _servers: (nginx, [known, upstream]),
            _host: host,
        })
    }

    /// A client of `tests/matrix/clients` gets to each of the names.
    fn connects(&self, client: impl Fn() -> Command) {
        for [name, peer, server] in NAMES {
            let output = output(client().args([name, "8080"]));
            let text = String::from_utf8(output.stdout).unwrap();
            let words: Vec<_> = text.split_whitespace().collect();
            let [_, _, ip, port, answered, intact] = words[..] else {
                panic!("{name}: {text}");
            };
            let ip = ip.parse::<IpAddr>().unwrap().to_canonical();
            let reached = SocketAddr::new(ip, port.parse().unwrap());
            let asked = SocketAddr::new(peer.parse().unwrap(), 8080);
            assert_eq!(reached, asked, "{name}");
            assert_eq!(answered, format!("{server}:8080"), "{name}");
            assert_eq!(intact, "intact", "{name}");
        }
    }
}

/// Does the same in either way.
fn resolves(row: Row, with: impl Fn(&Site)) {
    for way in [Way::Listen, Way::Capture] {
        let Some(site) = Site::of(way) else { return };
        with(&site);
    }
    row.passed();
}

#[test]
fn musl_asks_from_a_socket_that_is_not_connected() {
    let program = Program {
        name: "musl",
        version: &["/lib/ld-musl-x86_64.so.1"],
    };
    let Some(row) = Row::with(&["musl-gcc"], program, ROLE) else {
        return;
    };
    let (_folder, client) = compiled(&["musl-gcc", "-static"]);
    resolves(row, |site| {
        site.connects(|| site.conf.command(&client));
    });
}

#[test]
fn go_asks_by_itself() {
    let program = Program {
        name: "Go (its own resolver)",
        version: &["go", "version"],
    };
    let Some(row) = Row::with(&["go"], program, ROLE) else {
        return;
    };
    let (_folder, client) = built();
    resolves(row, |site| {
        site.connects(|| {
            let mut command = site.conf.command(&client);
            command.env("GODEBUG", "netdns=go");
            command
        });
    });
}

#[test]
fn java_finds_services() {
    let program = Program {
        name: "Java",
        version: &["java", "-version"],
    };
    let Some(row) = Row::with(&["java"], program, ROLE) else {
        return;
    };
    resolves(row, |site| {
        site.connects(|| {
            let mut command = site.conf.command("java");
            command.arg(source("Client.java"));
            command
        });
    });
}

#[test]
fn python_finds_services() {
    let program = Program {
        name: "Python",
        version: &["python3", "--version"],
    };
    let Some(row) = Row::with(&["python3"], program, ROLE) else {
        return;
    };
    resolves(row, |site| {
        site.connects(|| {
            let mut command = site.conf.command("python3");
            command.arg(source("client.py"));
            command
        });
    });
}

/// It drops an answer that does not come from the server that it asked.
#[test]
fn c_ares_asks_by_itself() {
    let program = Program {
        name: "c-ares (Node.js)",
        version: &["node", "-p", "process.versions.ares"],
    };
    let Some(row) = Row::with(&["node"], program, ROLE) else {
        return;
    };
    let script = r#"
        const { resolve4, resolve6, resolveSrv, reverse } = require("dns").promises;
        const questions = [
            resolve4("four.mesh"), resolve6("six.mesh"), resolve4("far.internal"), reverse("10.96.0.10"),
            resolveSrv("_http._tcp.four.mesh").then(([{ name, port }]) => [name, port]),
            resolve4("no.mesh").catch(({ code }) => [code]), resolve6("four.mesh").catch(({ code }) => [code]),
        ];
        Promise.all(questions).then((answers) => answers.forEach((it) => console.log(...it)));
    "#;
    let expected =
        "10.96.0.10\nfd00:96::10\n127.0.0.7\nfour.mesh\nfour.mesh 80\nENOTFOUND\nENODATA\n";
    resolves(row, |site| {
        assert_eq!(site.conf.output("node", &["-e", script]), expected);
    });
}

#[test]
fn getent_asks_by_glibc() {
    let program = Program {
        name: "getent (glibc)",
        version: &["getent", "--version"],
    };
    let Some(row) = Row::with(&["getent"], program, ROLE) else {
        return;
    };
    resolves(row, |site| {
        for [name, ip, _] in NAMES {
            for (database, kind) in [("ahosts", "STREAM"), ("hosts", name)] {
                let found = site.conf.output("getent", &[database, name]);
                let first = found.lines().next().unwrap();
                let words: Vec<_> = first.split_whitespace().take(2).collect();
                assert_eq!(words, [ip, kind], "{found}");
            }
        }
        let found = site.conf.output("getent", &["hosts", "fd00:96::10"]);
        assert!(found.trim().ends_with(" six.mesh"), "{found}");
        assert!(
            !site
                .conf
                .run("getent", &["hosts", "no.mesh"])
                .status
                .success()
        );
    });
}

#[test]
fn curl_fetches_pages_of_services() {
    let program = Program {
        name: "curl",
        version: &["curl", "--version"],
    };
    let Some(row) = Row::with(&["curl"], program, ROLE) else {
        return;
    };
    resolves(row, |site| {
        for ([name, peer, server], port) in NAMES.into_iter().zip(["80", "80", "8081"]) {
            let url = format!("http://{name}:{port}/");
            let format = "%{remote_ip} %{remote_port}";
            let options = ["--silent", "--max-time", "20", "--write-out", format, &url];
            let text = site.conf.output("curl", &options).replace("::ffff:", "");
            assert_eq!(text, format!("{server}:8081\n{peer} {port}"));
        }
    });
}

#[test]
fn dig_asks_the_server_of_resolv_conf() {
    let program = Program {
        name: "dig",
        version: &["dig", "-v"],
    };
    let Some(row) = Row::with(&["dig"], program, ROLE) else {
        return;
    };
    resolves(row, |site| {
        for how in ["+notcp", "+tcp"] {
            for ([name, ip, _], kind) in NAMES.into_iter().zip(["A", "AAAA", "A"]) {
                let answer = site.conf.output("dig", &[how, "+short", name, kind]);
                assert_eq!(answer.trim(), ip, "{name} {how}");
            }
        }
    });
}
