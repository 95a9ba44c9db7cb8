//! A service of datagrams whose endpoint goes, and comes back: sockets that stand are answered by another one, over both
//! families, and by whatever they ask.

use crate::PROGRAM;
use crate::health::state;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use std::net::SocketAddr;

/// Two servers, each at an address of either family. All clients are nearer to the first.
const NEAR: [&str; 2] = ["127.0.0.2", "fd50::2"];
const FAR: [&str; 2] = ["127.0.0.3", "fd50::3"];
const PORT: u16 = 5353;
/// Where probes go: nothing of UDP tells that somebody listens.
const PROBED: u16 = 9000;

const V4: &str = "10.96.0.53:53";
const V6: &str = "[fd00:96::53]:53";
const MAPPED: &str = "[::ffff:10.96.0.53]:53";

fn mesh(servers: &[[&str; 2]]) -> String {
    let endpoint = |server: &[&str; 2]| {
        let zone = if *server == NEAR { "eu/a" } else { "eu/b" };
        server.map(|ip| format!("{{ address = \"{ip}\", locality = \"{zone}\" }}"))
    };
    let endpoints: Vec<_> = servers.iter().flat_map(endpoint).collect();
    limited(&format!(
        "[node]\nlocality = \"eu/a\"\n\
         [health]\ninterval = \"200ms\"\nfast_interval = \"100ms\"\nrise = 1\nfall = 1\n\
         [services.names]\nvips = [\"10.96.0.53\", \"fd00:96::53\"]\n\
         ports = [{{ port = 53, target = {PORT}, protocol = \"udp\" }}]\n\
         policy = \"failover\"\non_remove = \"kill\"\nhealth = {{ check = \"tcp\", port = {PROBED} }}\n\
         endpoints = [{}]\n",
        endpoints.join(", ")
    ))
}

/// A server of datagrams that takes probes as well.
fn server(ips: [&str; 2]) -> Vec<Echo> {
    let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port).to_string();
    let both = ips.map(|ip| [Echo::udp(&at(ip, PORT)), Echo::tcp(&at(ip, PROBED))]);
    both.into_iter().flatten().collect()
}

fn wait_until_both_are(daemon: &mut Daemon, ips: [&str; 2], wanted: &str) {
    let what = format!("{ips:?} are {wanted}");
    daemon.wait_until(&what, |it| ips.iter().all(|ip| state(it, ip) == wanted));
}

/// A socket and the address that it asks.
struct Asker(Client, &'static str);

/// One of each family, and one that asks by mapped addresses.
fn sockets() -> [Asker; 3] {
    [
        Asker(Client::udp4(), V4),
        Asker(Client::udp6(), V6),
        Asker(Client::udp6(), MAPPED),
    ]
}

impl Asker {
    /// Each datagram names the address. The answer seems to be from there.
    fn is_answered_by(&self, server: [&str; 2]) {
        let Self(client, to) = self;
        let backend = client.ask_at(to).expect("an answer");
        self.is_of(server, backend);
    }

    fn connect(&self) {
        assert_eq!(self.0.connect(self.1), Ok(()), "{}", self.1);
    }

    /// The socket is connected.
    fn is_answered_as_connected_by(&self, server: [&str; 2]) {
        let Self(client, to) = self;
        client.send(b"who?");
        let (backend, from) = client.received().expect("an answer");
        assert_eq!(from, address(to));
        assert_eq!(client.peer(), Ok(address(to)));
        self.is_of(server, backend);
    }

    fn is_of(&self, server: [&str; 2], backend: SocketAddr) {
        let [v4, v6] = server.map(|ip| SocketAddr::new(ip.parse().unwrap(), PORT));
        // A connected socket may go from an IPv6 address to an IPv4 endpoint.
        let of_either = self.1 == V6 && self.0.peer().is_ok();
        let expected = match self.1 {
            V6 => backend == v6 || of_either && backend == v4,
            _ => backend == v4,
        };
        assert!(expected, "{} is answered by {backend}", self.1);
    }
}

fn host() -> Option<Host> {
    let host = Host::new()?;
    host.add(&[NEAR[1], FAR[1]]);
    Some(host)
}

#[test]
fn sockets_are_answered_by_another_endpoint_when_theirs_dies_and_when_it_is_back() {
    let Some(host) = host() else { return };
    let (near, _far) = (server(NEAR), server(FAR));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(&[NEAR, FAR]));
    wait_until_both_are(&mut daemon, NEAR, "healthy");
    wait_until_both_are(&mut daemon, FAR, "healthy");
    let (by_name, connected) = (sockets(), sockets());
    connected.iter().for_each(Asker::connect);
    for _ in 0..3 {
        by_name.iter().for_each(|it| it.is_answered_by(NEAR));
        connected
            .iter()
            .for_each(|it| it.is_answered_as_connected_by(NEAR));
    }

    drop(near);
    wait_until_both_are(&mut daemon, NEAR, "unhealthy");
    // Who names the address with each datagram has to do nothing.
    by_name.iter().for_each(|it| it.is_answered_by(FAR));
    for asker in &connected {
        // The kernel asks nobody where the datagrams of a connected socket go. It tells of the server, and the program
        // connects its socket again.
        assert_eq!(asker.0.ask(), Err(Errno::ECONNREFUSED), "{}", asker.1);
        asker.connect();
        asker.is_answered_as_connected_by(FAR);
    }
    by_name.iter().for_each(|it| it.is_answered_by(FAR));

    let _near = server(NEAR);
    wait_until_both_are(&mut daemon, NEAR, "healthy");
    by_name.iter().for_each(|it| it.is_answered_by(NEAR));
    for asker in &connected {
        // What it has is as good as before.
        asker.is_answered_as_connected_by(FAR);
        asker.connect();
        asker.is_answered_as_connected_by(NEAR);
    }
}

#[test]
fn sockets_leave_an_endpoint_that_is_drained_or_removed_although_it_answers() {
    let Some(host) = host() else { return };
    let (_near, _far) = (server(NEAR), server(FAR));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(&[NEAR, FAR]));
    wait_until_both_are(&mut daemon, NEAR, "healthy");
    wait_until_both_are(&mut daemon, FAR, "healthy");
    let (by_name, connected) = (sockets(), sockets());
    connected.iter().for_each(Asker::connect);
    by_name.iter().for_each(|it| it.is_answered_by(NEAR));

    for ip in NEAR {
        assert!(daemon.verb(&["drain", ip]).status.success());
    }
    by_name.iter().for_each(|it| it.is_answered_by(FAR));
    // As connections do, those that stand go on.
    connected
        .iter()
        .for_each(|it| it.is_answered_as_connected_by(NEAR));
    for ip in NEAR {
        assert!(daemon.verb(&["ready", ip]).status.success());
    }
    by_name.iter().for_each(|it| it.is_answered_by(NEAR));

    daemon.save(&mesh(&[FAR]));
    assert!(daemon.verb(&["reload"]).status.success());
    by_name.iter().for_each(|it| it.is_answered_by(FAR));
    for asker in &connected {
        // `on_remove` ends them, also one that waits for an answer.
        assert_eq!(asker.0.received(), Err(Errno::ECONNABORTED), "{}", asker.1);
        asker.connect();
        asker.is_answered_as_connected_by(FAR);
    }
}
