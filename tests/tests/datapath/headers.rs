//! Headers before the first byte, byte by byte, whatever way it is sent.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::{self, Behind};
use kmesh_lite_tests::client::{Client, address, mapped};
use kmesh_lite_tests::waypoint::{Heard, Waypoint};
use nix::errno::Errno;
use std::net::SocketAddr;

/// What a waypoint hears from a client that asks for `to` and says `hello`.
fn heard(waypoint: &Waypoint, to: SocketAddr) -> (Heard, SocketAddr) {
    let client = Client::tcp(to);
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
fn the_tlv_header_tells_what_was_asked_for() {
    let Some(mesh) = Behind::start("tlv") else {
        return;
    };
    for to in ASKED
        .map(address)
        .into_iter()
        .chain([mapped("10.96.0.10:80")])
    {
        let (heard, _) = heard(&mesh.waypoint, to);
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
fn the_proxy_v2_header_tells_who_asked_for_what() {
    let Some(mesh) = Behind::start("proxy-v2") else {
        return;
    };
    for to in ASKED
        .map(address)
        .into_iter()
        .chain([mapped("10.96.0.10:80")])
    {
        let (heard, own) = heard(&mesh.waypoint, to);
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
fn headers_are_sent_only_where_a_waypoint_wants_them() {
    let Some(mut mesh) = Behind::start("none") else {
        return;
    };
    let (heard, _) = heard(&mesh.waypoint, address("10.96.0.10:80"));
    assert_eq!(heard.header(), b"");
    assert_eq!(mesh.outcomes()[&Outcome::HeaderSent], 0);
}

#[test]
fn mptcp_is_refused_where_a_header_is_due() {
    let Some(mut mesh) = Behind::start("tlv") else {
        return;
    };
    let client = Client::mptcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Err(Errno::EOPNOTSUPP));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseHeader], 1);
    mesh.reload(&behind::mesh("none"));
    assert_eq!(Client::mptcp4().connect("10.96.0.10:80"), Ok(()));
}

#[test]
fn datagrams_are_refused_where_a_header_is_due() {
    let Some(mut mesh) = Behind::start("tlv") else {
        return;
    };
    let asked = Client::udp4().connect("127.0.0.3:53");
    assert_eq!(asked, Err(Errno::EOPNOTSUPP));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseHeader], 1);
}
