//! Applications see the peer that they asked for.

use kmesh_lite_tests::client::{Client, address, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::fates::MESH;
use kmesh_lite_tests::host::routed;
use nix::errno::Errno;

#[test]
fn the_peer_name_is_the_virtual_address_for_every_family() {
    let Some(_mesh) = routed(MESH) else { return };
    for (client, to) in [
        (Client::tcp4(), "10.96.0.10:80"),
        (Client::tcp6(), "[fd00:96::10]:80"),
        (Client::tcp6(), "[::ffff:10.96.0.10]:80"),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        assert_eq!(client.greeting(), address("127.0.0.2:8080"), "{to}");
        assert_eq!(client.peer(), Ok(address(to)));
    }
}

#[test]
fn the_peer_name_is_the_virtual_address_for_connected_udp() {
    let Some(_mesh) = routed(MESH) else { return };
    let _backend = Echo::udp("127.0.0.2:5353");
    for (client, to) in [
        (Client::udp4(), "10.96.0.53:53"),
        (Client::udp6(), "[fd00:96::53]:53"),
        (Client::udp6(), "[::ffff:10.96.0.53]:53"),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        assert_eq!(client.peer(), Ok(address(to)));
        assert_eq!(client.ask(), Ok(address("127.0.0.2:5353")), "{to}");
    }
}

/// README says so: what the connect hook keeps belongs to a subflow, which the hook for names cannot
/// find.
#[test]
fn the_peer_name_of_multipath_tcp_is_the_endpoint() {
    let Some(_mesh) = routed(MESH) else { return };
    let client = Client::mptcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    assert_eq!(client.greeting(), address("127.0.0.2:8080"));
    assert_eq!(client.peer(), Ok(address("127.0.0.2:8080")));
}

#[test]
fn the_peer_name_is_untouched_for_addresses_that_are_not_ours() {
    let Some(_mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("127.0.0.2:8080"), Ok(()));
    assert_eq!(client.peer(), Ok(address("127.0.0.2:8080")));
}

#[test]
fn the_peer_name_follows_a_stream_that_connects_again_after_a_failure() {
    let Some(_mesh) = routed(MESH) else { return };
    // The first connect is redirected to a port where nobody listens; then the backend itself is
    // asked for.
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.13:80"), Err(Errno::ECONNREFUSED));
    assert_eq!(client.peer(), Err(Errno::ENOTCONN));
    assert_eq!(client.connect("127.0.0.2:8080"), Ok(()));
    assert_eq!(client.peer(), Ok(address("127.0.0.2:8080")));

    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.13:80"), Err(Errno::ECONNREFUSED));
    assert_eq!(client.connect("10.96.0.11:80"), Ok(()));
    assert_eq!(client.greeting(), address("127.0.0.3:8080"));
    assert_eq!(client.peer(), Ok(address("10.96.0.11:80")));
}

#[test]
fn the_peer_name_follows_a_stream_that_connects_again_after_a_refusal_of_ours() {
    let Some(_mesh) = routed(MESH) else { return };
    for (to, error) in [
        ("10.96.0.12:80", Errno::EHOSTUNREACH),
        ("10.96.0.10:81", Errno::ECONNREFUSED),
    ] {
        let client = Client::tcp6();
        let to = mapped(to).to_string();
        assert_eq!(client.connect(&to), Err(error));
        assert_eq!(client.peer(), Err(Errno::ENOTCONN));
        assert_eq!(client.connect("[fd00:96::10]:80"), Ok(()));
        assert_eq!(client.peer(), Ok(address("[fd00:96::10]:80")));
    }
}

#[test]
fn the_peer_name_follows_a_stream_that_disconnects_and_connects_again() {
    let Some(_mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    for to in ["10.96.0.10:80", "127.0.0.2:8080", "10.96.0.11:80"] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        assert_eq!(client.peer(), Ok(address(to)));
        client.disconnect();
        assert_eq!(client.peer(), Err(Errno::ENOTCONN), "{to}");
    }
}

#[test]
fn the_peer_name_follows_a_datagram_socket_from_peer_to_peer() {
    let Some(_mesh) = routed(MESH) else { return };
    let _backends = [Echo::udp("127.0.0.2:5353"), Echo::udp("127.0.0.3:5353")];
    let client = Client::udp4();
    for (to, lands) in [
        ("10.96.0.53:53", "127.0.0.2:5353"),
        ("127.0.0.2:5353", "127.0.0.2:5353"),
        ("10.96.0.54:53", "127.0.0.3:5353"),
        ("10.96.0.53:53", "127.0.0.2:5353"),
        ("127.0.0.3:5353", "127.0.0.3:5353"),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        assert_eq!(client.peer(), Ok(address(to)));
        assert_eq!(client.ask(), Ok(address(lands)), "{to}");
    }
    assert_eq!(client.connect("10.96.0.54:53"), Ok(()));
    client.disconnect();
    assert_eq!(client.peer(), Err(Errno::ENOTCONN));
    assert_eq!(client.connect("127.0.0.3:5353"), Ok(()));
    assert_eq!(client.peer(), Ok(address("127.0.0.3:5353")));
}

#[test]
fn the_peer_name_stays_with_the_peer_that_a_datagram_socket_keeps_when_another_is_refused() {
    let Some(_mesh) = routed(MESH) else { return };
    let _backend = Echo::udp("127.0.0.2:5353");
    let client = Client::udp4();
    assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
    assert_eq!(client.connect("10.96.0.54:99"), Err(Errno::ECONNREFUSED));
    // A refused connect of a datagram socket leaves its old association in place.
    assert_eq!(client.ask(), Ok(address("127.0.0.2:5353")));
    assert_eq!(client.peer(), Ok(address("10.96.0.53:53")));
}

#[test]
fn the_peer_name_stays_for_old_connections_through_reloads_that_take_their_service_away() {
    let Some(mut mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    client.greeting();
    mesh.reload("");
    mesh.reload(MESH);
    mesh.reload("");
    assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
    client.exchange("still here\n");
}
