//! From where connections may arrive, on the host of the server.

use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, Running};
use nix::errno::Errno;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const SERVER: &str = "10.9.0.1:8080";
const SERVER6: &str = "[fd09::1]:8080";
/// No endpoint, and no policy is about it.
const OTHER: &str = "10.9.0.1:8081";

const CLIENTS: [&str; 8] = [
    "10.9.0.1",
    "10.9.1.1",
    "10.9.1.2",
    "10.9.2.1",
    "fd09::1",
    "fd09:1::1",
    "fd09:1::2",
    "fd09:2::1",
];

const REFUSED: Result<(), Errno> = Err(Errno::ECONNREFUSED);

/// A service whose endpoints are on this host, with policies.
fn mesh(policies: &str) -> String {
    format!(
        r#"
        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = ["10.9.0.1", "fd09::1"]

        {policies}
        "#
    )
}

fn policy(name: &str, action: &str, from: &[&str], more: &str) -> String {
    format!("[policies.{name}]\naction = '{action}'\nservices = ['web']\nfrom = {from:?}\n{more}\n")
}

/// A host with the addresses of all clients, and servers.
struct Site {
    running: Running,
    _servers: Vec<Echo>,
    _host: Host,
}

impl Site {
    fn new(policies: &str) -> Option<Self> {
        let host = Host::new()?;
        host.add(&CLIENTS);
        let servers = Echo::everywhere(&[8080, 8081]);
        let running = host.run(&mesh(policies));
        Some(Self {
            running,
            _servers: servers,
            _host: host,
        })
    }

    fn reload(&mut self, policies: &str) {
        self.running.reload(&mesh(policies));
    }

    /// Each policy refused something so often, or would have; a segment that is sent again is judged again.
    fn has_refused(&mut self, times: &[u64]) {
        let snapshot = self.running.snapshot().unwrap();
        let arrivals = snapshot.counters.arrivals.authorizations;
        let counted: Vec<_> = arrivals.into_values().collect();
        let are_there = counted.iter().zip(times).all(|(is, least)| is >= least);
        assert!(
            counted.len() == times.len() && are_there,
            "{counted:?}, not {times:?}"
        );
    }
}

/// A connect from one address to another.
fn connect(from: &str, to: &str) -> Result<(), Errno> {
    let client = Client::tcp(address(to));
    let own: IpAddr = from.parse().unwrap();
    let client = client.bind(&std::net::SocketAddr::new(own, 0).to_string());
    client.connect(to)?;
    client.greeting();
    Ok(())
}

#[test]
fn an_allow_policy_closes_endpoints_to_other_addresses_over_both_families() {
    let policies = policy("near", "allow", &["10.9.1.0/24", "fd09:1::/32"], "");
    let Some(mut site) = Site::new(&policies) else {
        return;
    };
    for (from, to, expected) in [
        ("10.9.1.1", SERVER, Ok(())),
        ("10.9.1.2", SERVER, Ok(())),
        ("10.9.2.1", SERVER, REFUSED),
        ("10.9.0.1", SERVER, REFUSED),
        ("fd09:1::1", SERVER6, Ok(())),
        ("fd09:2::1", SERVER6, REFUSED),
        // Nobody says anything of it.
        ("10.9.2.1", OTHER, Ok(())),
    ] {
        assert_eq!(connect(from, to), expected, "{from} to {to}");
    }
    site.has_refused(&[3]);
    site.reload("");
    assert_eq!(connect("10.9.2.1", SERVER), Ok(()));
    // Nothing is attached where there is nothing to judge.
    let again = policy("near", "deny", &["10.9.2.1"], "");
    site.reload(&again);
    assert_eq!(connect("10.9.2.1", SERVER), REFUSED);
    assert_eq!(connect("10.9.0.1", SERVER), Ok(()));
}

#[test]
fn a_smaller_network_and_a_deny_policy_win() {
    let allow = policy("near", "allow", &["10.9.0.0/16"], "");
    let deny = policy("one", "deny", &["10.9.1.2"], "");
    let Some(mut site) = Site::new(&(allow.clone() + &deny)) else {
        return;
    };
    assert_eq!(connect("10.9.1.1", SERVER), Ok(()));
    assert_eq!(connect("10.9.1.2", SERVER), REFUSED);
    assert_eq!(connect("fd09:1::1", SERVER6), REFUSED);
    site.has_refused(&[1, 1]);
    let audit = policy("one", "deny", &["10.9.1.2"], "mode = 'audit'");
    site.reload(&(allow + &audit));
    assert_eq!(connect("10.9.1.2", SERVER), Ok(()));
    site.has_refused(&[1, 2]);
}

#[test]
fn ports_of_this_host_are_guarded_without_a_service() {
    let policies = "[policies.ports]\naction = 'deny'\nports = [8081]\nfrom = ['10.9.1.0/24']\n";
    let Some(mut site) = Site::new(policies) else {
        return;
    };
    assert_eq!(connect("10.9.1.1", OTHER), REFUSED);
    assert_eq!(connect("10.9.2.1", OTHER), Ok(()));
    assert_eq!(connect("10.9.1.1", SERVER), Ok(()));
    site.reload("[policies.ports]\naction = 'deny'\nports = ['*']\nfrom = ['10.9.1.1']\n");
    for to in [SERVER, OTHER] {
        assert_eq!(connect("10.9.1.1", to), REFUSED);
        assert_eq!(connect("10.9.1.2", to), Ok(()));
    }
}

#[test]
fn a_connection_that_stands_goes_on_when_a_policy_comes() {
    let Some(mut site) = Site::new("") else {
        return;
    };
    let client = Client::tcp4().bind("10.9.1.1:0");
    assert_eq!(client.connect(SERVER), Ok(()));
    client.greeting();
    site.reload(&policy("all", "deny", &["0.0.0.0/0"], ""));
    assert_eq!(connect("10.9.1.1", SERVER), REFUSED);
    assert_eq!(connect("fd09:1::1", SERVER6), Ok(()));
    client.exchange("still here");
}

/// Servers are read by the test itself, which sees all that was delivered: on loopback, it is there when send() returns.
#[test]
fn datagrams_to_a_server_that_is_not_connected_are_judged_one_by_one() {
    let policies = "[policies.names]\naction = 'deny'\nports = ['5353/udp']\nfrom = ['10.9.1.0/24', 'fd09:1::/32']\n";
    let Some(mut site) = Site::new(policies) else {
        return;
    };
    let listen = |at| {
        let server = UdpSocket::bind(at).unwrap();
        server.set_nonblocking(true).unwrap();
        server
    };
    let (guarded, other) = (listen("[::]:5353"), listen("[::]:5354"));
    let delivered = |server: &UdpSocket| {
        let mut got = Vec::new();
        while let Ok((_, from)) = server.recv_from(&mut [0; 16]) {
            got.push(from.ip().to_canonical().to_string());
        }
        got
    };
    let clients = ["10.9.1.1", "10.9.2.1", "fd09:1::1", "fd09:2::1"];
    let send = |from: &str, port: u16| {
        let own: IpAddr = from.parse().unwrap();
        let to: IpAddr = if own.is_ipv4() { "10.9.0.1" } else { "fd09::1" }
            .parse()
            .unwrap();
        let client = UdpSocket::bind((own, 0)).unwrap();
        client.send_to(b"who?", (to, port)).unwrap();
        // The next one of a socket that sends again, too.
        client.send_to(b"who?", (to, port)).unwrap();
    };
    for from in clients {
        send(from, 5353);
        send(from, 5354);
    }
    let twice = |all: &[&str]| -> Vec<String> {
        all.iter()
            .flat_map(|it| [it.to_string(), it.to_string()])
            .collect()
    };
    assert_eq!(delivered(&guarded), twice(&["10.9.2.1", "fd09:2::1"]));
    assert_eq!(delivered(&other), twice(&clients));
    site.has_refused(&[4]);
    // A socket that is connected to its peer is found before policies are asked.
    let peer = UdpSocket::bind("10.9.1.2:0").unwrap();
    let connected = listen("10.9.0.1:5355");
    connected.connect(peer.local_addr().unwrap()).unwrap();
    site.reload("[policies.names]\naction = 'deny'\nports = ['*/udp']\nfrom = ['10.9.1.0/24', 'fd09:1::/32']\n");
    peer.send_to(b"who?", "10.9.0.1:5355").unwrap();
    assert_eq!(delivered(&connected), ["10.9.1.2"]);
    for from in clients {
        send(from, 5354);
    }
    assert_eq!(delivered(&other), twice(&["10.9.2.1", "fd09:2::1"]));
    // The same port of TCP is another one.
    assert_eq!(connect("10.9.1.1", SERVER), Ok(()));
    site.reload("");
    send("10.9.1.1", 5353);
    assert_eq!(delivered(&guarded), twice(&["10.9.1.1"]));
}

/// A network that is about to come, or about to go, must not hide the one around it.
#[test]
fn networks_come_and_go_under_fire_and_change_nothing_for_those_whom_others_allow() {
    let around = policy("around", "allow", &["10.9.1.0/24"], "");
    let nested = [
        "10.9.1.0/25",
        "10.9.1.0/26",
        "10.9.1.0/27",
        "10.9.1.0/28",
        "10.9.1.0/29",
        "10.9.1.0/30",
        "10.9.1.1",
    ];
    let audit = policy("nested", "deny", &nested, "mode = 'audit'");
    let Some(mut site) = Site::new(&around) else {
        return;
    };
    let is_over = AtomicBool::new(false);
    let (good, bad) = thread::scope(|scope| {
        let client = |from, expected| {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut connects = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(connect(from, SERVER), expected, "connect {connects}");
                    connects += 1;
                }
                connects
            })
        };
        let (good, bad) = (client("10.9.1.1", Ok(())), client("10.9.2.1", REFUSED));
        for _ in 0..20 {
            site.reload(&(around.clone() + &audit));
            site.reload(&around);
        }
        is_over.store(true, Ordering::Relaxed);
        (good.join().unwrap(), bad.join().unwrap())
    });
    assert!(good > 0 && bad > 0, "{good} and {bad} connects");
}
