//! What Prometheus has at the end is what those who took part have counted, to the connection.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::prometheus::{Prometheus, program};
use kmesh_lite_tests::require;
use kmesh_lite_tests::scrape::get;
use kmesh_lite_tests::server::ends_with_us;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a server is like, by the name of the service.
const SERVERS: [(&str, u16); 4] = [("good", 8080), ("rude", 8081), ("deaf", 9), ("full", 8082)];
/// Of a waypoint, beside that of the server in whose place it is.
const WAYPOINT: u16 = 10_000;

/// Each of the services twice: with endpoints, and with a waypoint that is as the endpoint would be.
fn mesh(log: &Path) -> String {
    let mut text = format!(
        "metrics.listen = \"127.0.0.1:9900\"\n\
         access_log.to = {log:?}\n\
         access_log.rate_limit = 1000000\n"
    );
    for (number, (name, port)) in SERVERS.iter().enumerate() {
        let waypoint = port + WAYPOINT;
        let _ = write!(
            text,
            "[services.{name}]\n\
             vips = [\"10.96.1.{number}\", \"fd00:96:1::{number}\"]\n\
             ports = [\"80:{port}\"]\n\
             endpoints = [\"127.0.0.2\", \"127.0.0.3\", \"::1\"]\n\
             [waypoints.{name}]\n\
             address = \"127.0.0.9:{waypoint}\"\n\
             header = \"none\"\n\
             [services.gated-{name}]\n\
             vips = [\"10.96.2.{number}\", \"fd00:96:2::{number}\"]\n\
             ports = [\"80:{port}\"]\n\
             endpoints = [\"127.0.0.4\"]\n\
             waypoint = \"{name}\"\n"
        );
    }
    limited(&text)
}

/// Where clients find a service: IPv4, IPv6, and IPv4 by a socket of IPv6.
fn addresses(name: &str) -> [(SocketAddr, String); 6] {
    let number = SERVERS.iter().position(|(known, _)| *known == name);
    let number = number.expect("a service");
    let at = |group: u8, service: String| {
        [
            format!("10.96.{group}.{number}:80"),
            format!("[fd00:96:{group}::{number}]:80"),
            format!("[::ffff:10.96.{group}.{number}]:80"),
        ]
        .map(|to| (address(&to), service.clone()))
    };
    let [one, two, three] = at(1, name.to_owned());
    let [four, five, six] = at(2, format!("gated-{name}"));
    [one, two, three, four, five, six]
}

/// A listener that answers nobody, because its queue is full.
struct Full {
    _listener: Socket,
    _filling: TcpStream,
}

impl Full {
    fn at(port: u16) -> Self {
        let listener = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        listener.set_only_v6(false).expect("IPV6_V6ONLY");
        let any = address(&format!("[::]:{port}"));
        listener.bind(&any.into()).expect("bind");
        listener.listen(0).expect("listen");
        Self {
            _listener: listener,
            _filling: TcpStream::connect(("127.0.0.1", port)).expect("the one that fills it"),
        }
    }
}

/// Counts by service, and by how it went.
type Counts = BTreeMap<Vec<String>, u64>;

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    established: Counts,
    failed: Counts,
    ended: Counts,
    sent: Counts,
    received: Counts,
}

fn add(counts: &mut Counts, key: &[&str], by: usize) {
    let key = key.iter().map(|&word| word.to_owned()).collect();
    *counts.entry(key).or_default() += by as u64;
}

impl Seen {
    /// A connection to each address of each server: those who serve, those who reset, those who refuse,
    /// those who are silent, and programs that are killed while they are served.
    fn connect_to_all(&mut self) {
        for (to, service) in &addresses("good") {
            self.is_served(*to, service);
            self.is_killed(*to, service);
        }
        for (to, service) in &addresses("rude") {
            self.is_reset(*to, service);
        }
        for (to, service) in &addresses("deaf") {
            let outcome = Client::tcp(*to).connect(&to.to_string());
            assert_eq!(outcome, Err(Errno::ECONNREFUSED), "{to}");
            add(&mut self.failed, &[service, "refused"], 1);
        }
        for (to, service) in &addresses("full") {
            let client = Client::tcp(*to);
            let patience = Some(Duration::from_millis(200));
            let set = client.socket().set_tcp_user_timeout(patience);
            set.expect("TCP_USER_TIMEOUT");
            let outcome = client.connect(&to.to_string());
            assert_eq!(outcome, Err(Errno::ETIMEDOUT), "{to}");
            add(&mut self.failed, &[service, "timed_out"], 1);
        }
    }

    fn is_served(&mut self, to: SocketAddr, service: &str) {
        let client = Client::tcp(to);
        assert_eq!(client.connect(&to.to_string()), Ok(()), "{to}");
        let greeting = client.greeting().to_string();
        client.exchange("hello");
        client.finish();
        let mut rest = Vec::new();
        let end = client.socket().read_to_end(&mut rest);
        assert_eq!(end.expect("the end"), 0, "{to}");
        add(&mut self.established, &[service], 1);
        add(&mut self.ended, &[service, "closed"], 1);
        add(&mut self.sent, &[service], 5);
        add(&mut self.received, &[service], greeting.len() + 1 + 5);
    }

    fn is_reset(&mut self, to: SocketAddr, service: &str) {
        let client = Client::tcp(to);
        assert_eq!(client.connect(&to.to_string()), Ok(()), "{to}");
        client.greeting();
        client.send(b"hello");
        let end = client.socket().read(&mut [0]);
        let error = end.expect_err("a reset").raw_os_error();
        assert_eq!(error, Some(Errno::ECONNRESET as i32), "{to}");
        add(&mut self.established, &[service], 1);
        add(&mut self.ended, &[service, "reset"], 1);
    }

    fn is_killed(&mut self, to: SocketAddr, service: &str) {
        const PROGRAM: &str =
            "exec 3<>\"/dev/tcp/$0/$1\"; read -r line <&3; echo \"$line\"; read -r line";
        let mut command = Command::new("bash");
        command.args(["-c", PROGRAM, &to.ip().to_string(), &to.port().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = ends_with_us(&mut command).spawn().expect("a client");
        let mut greeting = String::new();
        let said = BufReader::new(client.stdout.take().expect("its output"));
        let read = said.lines().next().expect("a greeting");
        greeting.push_str(&read.expect("a greeting"));
        client.kill().expect("SIGKILL");
        client.wait().expect("its end");
        add(&mut self.established, &[service], 1);
        add(&mut self.ended, &[service, "closed"], 1);
        add(&mut self.received, &[service], greeting.len() + 1);
    }
}

/// Connections of the access log by service and outcome. What a daemon heard right before it was killed may be told by the
/// next one as well.
fn logged(log: &Path, event: &str) -> Counts {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut counts = Counts::new();
    let mut told = BTreeSet::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let cookie = || line["cookie"].as_u64().expect("a cookie");
        if line["event"] == event && told.insert(cookie()) {
            let word = |field: &str| line[field].as_str().expect("a word").to_owned();
            add(&mut counts, &[&word("service"), &word("outcome")], 1);
        }
    }
    counts
}

/// The parts of counts that are about these services.
fn of(counts: &Counts, services: &[&str]) -> Counts {
    let known = |key: &[String]| key.iter().any(|word| services.contains(&word.as_str()));
    let counts = counts.iter().filter(|(key, _)| known(key));
    counts.map(|(key, count)| (key.clone(), *count)).collect()
}

#[test]
fn totals_are_those_of_clients_and_servers_across_a_restart_of_the_daemon() {
    let Some(prometheus) = program("prometheus") else {
        return require::skip_server("prometheus is neither installed nor unpacked");
    };
    let Some(host) = Host::new() else { return };
    let everywhere = |port: u16| format!("[::]:{port}");
    let good = [8080, 18_080].map(|port| Echo::tcp(&everywhere(port)));
    let rude = [8081, 18_081].map(|port| Echo::rude(&everywhere(port)));
    let _full = [8082, 18_082].map(Full::at);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.json");
    let mut daemon = Daemon::supervised_with_agent(PROGRAM, &host, &mesh(&log));
    let scraped = || get("127.0.0.1:9900", "/metrics", "").is_ok_and(|it| it.status == 200);
    daemon.wait_until("metrics are served", |_| scraped());
    let prometheus = Prometheus::start(&prometheus, &[]);
    let is_up = |up: f64| eventually(|| prometheus.query("up{job=\"kmesh-lite\"}") == [up]);
    assert!(is_up(1.0), "{}", prometheus.log());

    let mut seen = Seen::default();
    seen.connect_to_all();
    let held = Client::tcp(address("10.96.1.0:80"));
    assert_eq!(held.connect("10.96.1.0:80"), Ok(()));
    let greeting = held.greeting().to_string();
    // What the daemon has heard of and not yet written is lost when it is killed.
    for (event, expected) in [("failed", &seen.failed), ("closed", &seen.ended)] {
        let is_written = eventually(|| logged(&log, event) == *expected);
        assert!(
            is_written,
            "{event}: {:?}, not {expected:?}",
            logged(&log, event)
        );
    }
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert!(is_up(0.0));
    // The kernel goes on with the mesh, and counts.
    seen.connect_to_all();
    daemon.start_again(&[]);
    assert!(is_up(1.0), "{}", daemon.log());
    seen.connect_to_all();

    let equals = |what: &str, found: &dyn Fn() -> Counts, expected: &Counts| {
        let is_so = eventually(|| found() == *expected);
        assert!(is_so, "{what}: {:?}, not {expected:?}", found());
    };
    let service = |name: &str| format!("kmesh_lite_service_{name}");
    let open = Counts::from([(vec!["good".to_owned()], 1)]);
    equals(
        "open",
        &|| prometheus.by(&["service"], &service("connections_active")),
        &open,
    );
    add(&mut seen.established, &["good"], 1);
    add(&mut seen.ended, &["good", "closed"], 1);
    add(&mut seen.received, &["good"], greeting.len() + 1);
    held.finish();
    drop(held);

    // What clients saw.
    let with_reason = ["service", "reason"];
    for (name, labels, expected) in [
        (
            "connections_established_total",
            &["service"][..],
            &seen.established,
        ),
        ("connections_failed_total", &with_reason, &seen.failed),
        ("connections_ended_total", &with_reason, &seen.ended),
    ] {
        equals(name, &|| prometheus.by(labels, &service(name)), expected);
    }
    // The access log has a line for each of them.
    for (event, expected) in [("failed", &seen.failed), ("closed", &seen.ended)] {
        equals(event, &|| logged(&log, event), expected);
    }
    // By services, endpoints, waypoints and clients it is the same.
    for whom in ["endpoint", "client"] {
        let name = format!("kmesh_lite_{whom}_connections_established_total");
        let services: &[&str] = match whom {
            // A connection to a waypoint is to none of the endpoints.
            "endpoint" => &["good", "rude"],
            _ => &["good", "rude", "gated-good", "gated-rude"],
        };
        let expected = of(&seen.established, services);
        equals(&name, &|| prometheus.by(&["service"], &name), &expected);
    }
    let name = "kmesh_lite_waypoint_connections_established_total";
    let gated = of(&seen.established, &["gated-good", "gated-rude"]);
    equals(name, &|| prometheus.by(&["service"], name), &gated);
    let name = "kmesh_lite_waypoint_connections_failed_total";
    let gated = of(&seen.failed, &["gated-deaf", "gated-full"]);
    equals(name, &|| prometheus.by(&with_reason, name), &gated);
    // What arrived at endpoints, which are on this host as well.
    let name = "kmesh_lite_inbound_connections_total";
    let arrived = of(&seen.established, &["good", "rude"]);
    equals(name, &|| prometheus.by(&["service"], name), &arrived);
    // Bytes, of those who read all of them.
    let polite = ["good", "gated-good"];
    for (name, expected) in [
        ("sent_bytes_total", &seen.sent),
        ("received_bytes_total", &seen.received),
    ] {
        let found = || of(&prometheus.by(&["service"], &service(name)), &polite);
        equals(name, &found, &of(expected, &polite));
    }
    // Times are those of connections that have ended.
    for name in [
        "connect_duration_seconds_count",
        "connection_duration_seconds_count",
    ] {
        equals(
            name,
            &|| prometheus.by(&["service"], &service(name)),
            &seen.established,
        );
    }
    // What servers saw.
    for (name, taken) in [
        ("good", good[0].taken()),
        ("gated-good", good[1].taken()),
        ("rude", rude[0].taken()),
        ("gated-rude", rude[1].taken()),
    ] {
        assert_eq!(seen.established[&vec![name.to_owned()]], taken, "{name}");
    }
    assert_eq!(prometheus.query("sum(kmesh_lite_unaccounted_total)"), [0.0]);
}
