//! Datagram sockets that are connected to a virtual address: answers come from where the program asked.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

const MESH: &str = r#"
    [services.names]
    vips = ["10.96.0.53", "fd00:96::53"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.2"]

    [services.six]
    vips = ["fd00:96::54"]
    ports = ["53:5353/udp"]
    endpoints = ["::1"]

    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

/// Where an answer comes from, by recvfrom(); canonical, as IPv6 sockets see mapped addresses.
fn answered_from(client: &Client) -> SocketAddr {
    client.socket().send(b"who?").expect("send");
    let mut answer = [MaybeUninit::uninit(); 64];
    let (_, from) = client.socket().recv_from(&mut answer).expect("an answer");
    from.as_socket().expect("an IP address")
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let _backends = [Echo::udp("127.0.0.2:5353"), Echo::udp("[::1]:5353")];
    for (client, to) in [
        (Client::udp4(), "10.96.0.53:53"),
        (Client::udp6(), "[::ffff:10.96.0.53]:53"),
        (Client::udp6(), "[fd00:96::53]:53"),
        (Client::udp6(), "[fd00:96::54]:53"),
        (Client::udp6().v6only(), "[fd00:96::54]:53"),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        assert_eq!(answered_from(&client), address(to));
        assert_eq!(client.peer(), Ok(address(to)));
    }
}

#[test]
fn answers_follow_a_socket_from_peer_to_peer() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let _backend = Echo::udp("127.0.0.2:5353");
    let client = Client::udp4();
    for to in ["10.96.0.53:53", "127.0.0.2:5353", "10.96.0.53:53"] {
        assert_eq!(client.connect(to), Ok(()));
        assert_eq!(answered_from(&client), address(to));
    }
    // Nobody in particular is the peer any more.
    client.disconnect();
    let to = socket2::SockAddr::from(address("127.0.0.2:5353"));
    client.socket().send_to(b"who?", &to).expect("send");
    let mut answer = [MaybeUninit::uninit(); 64];
    let (_, from) = client.socket().recv_from(&mut answer).expect("an answer");
    assert_eq!(from.as_socket(), Some(address("127.0.0.2:5353")));
}

/// A datagram may have come before the socket was connected.
#[test]
fn what_came_from_others_is_said_to_be_from_them() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let client = Client::udp4().bind("127.0.0.1:0");
    let stranger = Client::udp4().bind("127.0.0.9:0");
    let to = socket2::SockAddr::from(client.own());
    stranger.socket().send_to(b"early", &to).expect("send");
    assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
    let mut bytes = [MaybeUninit::uninit(); 64];
    let (_, from) = client.socket().recv_from(&mut bytes).expect("a datagram");
    assert_eq!(from.as_socket(), Some(stranger.own()));
}

#[test]
fn answers_stay_right_when_the_service_is_gone() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backend = Echo::udp("127.0.0.2:5353");
    let client = Client::udp4();
    assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
    mesh.reload("");
    assert_eq!(answered_from(&client), address("10.96.0.53:53"));
}

/// getaddrinfo() connects a datagram socket to each address that it found, and sends nothing.
#[test]
fn probes_of_getaddrinfo_are_counted_apart() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    for port in [0, 80, 65535] {
        let probed = Client::udp4().connect(&format!("10.96.0.10:{port}"));
        assert_eq!(probed, Err(Errno::ECONNREFUSED));
    }
    assert_eq!(
        Client::tcp4().connect("10.96.0.10:81"),
        Err(Errno::ECONNREFUSED)
    );
    let outcomes = mesh.outcomes();
    assert_eq!(outcomes[&Outcome::RefuseUndeclaredUdpPort], 3);
    assert_eq!(outcomes[&Outcome::RefuseUndeclaredPort], 1);
}
