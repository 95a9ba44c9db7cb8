//! A socket that is taken back while its header is pending, and connected again.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::Behind;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::pending::{Pending, cookie};

const V4: &str = "10.96.0.10:80";
/// By the same waypoint.
const OTHER: &str = "10.96.0.12:80";

/// A client whose header is pending, and the sockets that wait with it.
fn pending() -> (Client, u64, Pending) {
    let client = Client::tcp4();
    assert_eq!(client.connect(V4), Ok(()));
    let cookie = cookie(client.socket()).expect("SO_COOKIE");
    let pending = Pending::of(cookie).expect("a header that is pending");
    (client, cookie, pending)
}

#[test]
fn the_second_connection_has_its_own_header() {
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    for to in [V4, OTHER] {
        let (client, cookie, pending) = pending();
        client.disconnect();
        assert!(!pending.has(cookie), "it waits for nothing");
        assert_eq!(mesh.waypoint.heard().bytes, b"");
        assert_eq!(client.connect(to), Ok(()));
        assert!(pending.has(cookie));
        client.send(b"again");
        assert!(!pending.has(cookie), "the header has left");
        client.finish();
        let heard = mesh.waypoint.heard();
        assert_eq!(heard.proxy(), Some((heard.from, address(to))));
        assert_eq!(heard.payload(), b"again");
    }
    let outcomes = mesh.outcomes();
    assert_eq!(outcomes[&Outcome::HeaderSent], 2);
    assert_eq!(outcomes[&Outcome::CloseUnmappable], 0);
}

#[test]
fn a_second_connection_without_a_header_has_none_and_nothing_stays() {
    let Some(mut mesh) = Behind::start("proxy-v2") else {
        return;
    };
    let _free = Echo::tcp("127.0.0.4:8080");
    // By a service, and straight.
    for to in ["10.96.0.13:80", "127.0.0.4:8080"] {
        let (client, cookie, pending) = pending();
        client.disconnect();
        assert_eq!(client.connect(to), Ok(()), "{to}");
        assert!(!pending.has(cookie), "{to}");
        assert_eq!(client.greeting(), address("127.0.0.4:8080"));
        client.exchange("nothing before it\n");
        assert_eq!(client.peer(), Ok(address(to)));
        mesh.waypoint.heard();
    }
    assert_eq!(mesh.outcomes()[&Outcome::HeaderSent], 0);
}

#[test]
fn a_connection_whose_header_has_left_can_be_followed_by_another_with_a_header() {
    let Some(mut mesh) = Behind::start("tlv") else {
        return;
    };
    let client = Client::tcp4();
    for _ in 0..3 {
        assert_eq!(client.connect(V4), Ok(()));
        client.send(b"once");
        client.disconnect();
        let heard = mesh.waypoint.heard();
        assert_eq!(heard.header().len(), 16);
    }
    assert_eq!(mesh.outcomes()[&Outcome::HeaderSent], 3);
}
