//! Headers before the first byte, byte by byte, whatever way it is sent.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, mapped};
use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::waypoint::{Heard, Waypoint};
use nix::errno::Errno;
use std::net::SocketAddr;

/// A service behind a waypoint of each family, a captured backend, and a service of that backend.
fn mesh(header: &str) -> String {
    format!(
        r#"
        [waypoints.four]
        address = "127.0.1.1:15008"
        header = "{header}"

        [waypoints.six]
        address = "[fd00:1::15]:15008"
        header = "{header}"

        [services.whole]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        waypoint = "four"
        endpoints = ["127.0.0.2"]

        [services.six]
        vips = ["fd00:96::11"]
        ports = ["80:8080"]
        waypoint = "six"
        endpoints = ["127.0.0.2"]

        [services.part]
        vips = ["10.96.0.12"]
        ports = ["80:8080"]
        endpoints = ["captured"]

        [endpoints.captured]
        address = "127.0.0.3"
        waypoint = "four"
        "#
    )
}

fn running(header: &str) -> Option<(Host, Waypoint, Running)> {
    let host = Host::new()?;
    host.add(&["fd00:1::15"]);
    let waypoint = Waypoint::listen(15008);
    let mesh = host.run(&mesh(header));
    Some((host, waypoint, mesh))
}

/// What a waypoint hears from a client that asks for `to` and says `hello`.
fn heard(waypoint: &Waypoint, to: SocketAddr) -> (Heard, SocketAddr) {
    let client = match to {
        SocketAddr::V4(_) => Client::tcp4(),
        SocketAddr::V6(_) => Client::tcp6(),
    };
    assert_eq!(client.connect(&to.to_string()), Ok(()), "{to}");
    assert_eq!(client.peer(), Ok(to));
    client.send(b"hello");
    assert_eq!(client.peer(), Ok(to));
    let own = client.own();
    client.finish();
    let heard = waypoint.heard();
    assert_eq!(heard.payload(), b"hello");
    (heard, own)
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// Everything that is redirected to a waypoint, with what the header must tell.
const ASKED: [&str; 6] = [
    "10.96.0.10:80",
    "[fd00:96::10]:80",
    "[fd00:96::11]:80",
    "10.96.0.12:80",
    "127.0.0.3:8080",
    "127.0.0.3:1",
];

#[test]
fn tlv_tells_what_was_asked_for() {
    let Some((_host, waypoint, _mesh)) = running("tlv") else {
        return;
    };
    for to in ASKED
        .map(address)
        .into_iter()
        .chain([mapped("10.96.0.10:80")])
    {
        let (heard, _) = heard(&waypoint, to);
        let mut expected = vec![1, 0, 0, 0];
        match to.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => {
                expected.push(6);
                expected.extend(ip.octets());
            }
            std::net::IpAddr::V6(ip) => {
                expected.push(18);
                expected.extend(ip.octets());
            }
        }
        expected.extend(to.port().to_be_bytes());
        expected.extend([0xfe, 0, 0, 0, 0]);
        assert_eq!(heard.header(), expected, "{to}");
    }
}

#[test]
fn proxy_v2_tells_who_asked_for_what() {
    let Some((_host, waypoint, _mesh)) = running("proxy-v2") else {
        return;
    };
    for to in ASKED
        .map(address)
        .into_iter()
        .chain([mapped("10.96.0.10:80")])
    {
        let (heard, own) = heard(&waypoint, to);
        let (source, asked) = heard.proxy().expect("a PROXY header");
        assert_eq!(asked, canonical(to));
        assert_eq!(source, canonical(own));
        let v4 = canonical(to).is_ipv4();
        assert_eq!(heard.header().len(), if v4 { 28 } else { 52 });
        // The client that the waypoint sees is the real one.
        assert_eq!(source, heard.from);
    }
}

#[test]
fn are_sent_only_where_a_waypoint_wants_them() {
    let Some((_host, waypoint, mut mesh)) = running("none") else {
        return;
    };
    let (heard, _) = heard(&waypoint, address("10.96.0.10:80"));
    assert_eq!(heard.header(), b"");
    assert_eq!(count(&mut mesh, Outcome::HeaderSent), 0);
}

fn count(mesh: &mut Running, outcome: Outcome) -> u64 {
    let actual = mesh.read().unwrap();
    mesh.counters(&actual.tables).unwrap().outcomes[&outcome]
}

#[test]
fn mptcp_is_refused() {
    let Some((_host, _waypoint, mut mesh)) = running("tlv") else {
        return;
    };
    let client = Client::mptcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Err(Errno::EOPNOTSUPP));
    assert_eq!(count(&mut mesh, Outcome::RefuseHeader), 1);
    mesh.reload(&self::mesh("none"));
    assert_eq!(Client::mptcp4().connect("10.96.0.10:80"), Ok(()));
}

#[test]
fn datagrams_are_refused() {
    let Some((_host, _waypoint, mut mesh)) = running("tlv") else {
        return;
    };
    let asked = Client::udp4().connect("127.0.0.3:53");
    assert_eq!(asked, Err(Errno::EOPNOTSUPP));
    assert_eq!(count(&mut mesh, Outcome::RefuseHeader), 1);
}
