//! Datagrams of sockets that are not connected: they reach endpoints, and answers come from where the program asked.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use nix::errno::Errno;

const MESH: &str = r#"
    [services.names]
    vips = ["10.96.0.53", "fd00:96::53"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.2"]

    [services.time]
    vips = ["10.96.0.123"]
    ports = ["123:5353/udp", "124:5354/udp"]
    endpoints = ["127.0.0.3"]

    [services.again]
    vips = ["10.96.0.54"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.2"]

    [services.six]
    vips = ["fd00:96::54"]
    ports = ["53:5353/udp"]
    endpoints = ["::1"]

    [services.both]
    vips = ["10.96.0.55", "fd00:96::55"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.2", "::1"]

    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

const TWO: &str = "127.0.0.2:5353";
const THREE: &str = "127.0.0.3:5353";
const SIX: &str = "[::1]:5353";

fn backends() -> [Echo; 4] {
    [TWO, THREE, "127.0.0.3:5354", SIX].map(Echo::udp)
}

#[test]
fn a_datagram_reaches_an_endpoint_over_either_family() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = backends();
    for (client, to, backend) in [
        (Client::udp4(), "10.96.0.53:53", TWO),
        (Client::udp4(), "10.96.0.123:124", "127.0.0.3:5354"),
        (Client::udp6(), "[::ffff:10.96.0.53]:53", TWO),
        (Client::udp6(), "[fd00:96::54]:53", SIX),
        (Client::udp6().v6only(), "[fd00:96::54]:53", SIX),
        (Client::udp4(), "10.96.0.55:53", TWO),
        (Client::udp6(), "[fd00:96::55]:53", SIX),
        (Client::udp4().bind("127.0.0.1:0"), "10.96.0.53:53", TWO),
        (Client::udp6().bind("[::1]:0"), "[fd00:96::55]:53", SIX),
    ] {
        for _ in 0..3 {
            assert_eq!(client.ask_at(to), Ok(address(backend)), "{to}");
        }
    }
    // Each socket made one choice, however often it sent.
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 9);
}

#[test]
fn a_socket_talks_to_many_services_in_turn() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = backends();
    let client = Client::udp6();
    let all = [
        ("[::ffff:10.96.0.53]:53", TWO),
        ("[::ffff:10.96.0.123]:123", THREE),
        ("[fd00:96::54]:53", SIX),
        ("[::ffff:10.96.0.123]:124", "127.0.0.3:5354"),
    ];
    for (to, backend) in all.iter().cycle().take(12) {
        assert_eq!(client.ask_at(to), Ok(address(backend)));
    }
    // All are on their way at once; each answer is known for what it is.
    for (to, _) in all {
        client.send_to(to).unwrap();
    }
    let mut answers: Vec<_> = all.iter().map(|_| client.received().unwrap()).collect();
    let mut expected = all.map(|(to, backend)| (address(backend), address(to)));
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
    assert_eq!(mesh.outcomes()[&Outcome::Endpoint], 4);
}

/// Two services at one backend: what comes from there is the answer to what was sent last.
#[test]
fn an_answer_is_to_the_last_of_the_services_that_share_a_backend() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let _backends = backends();
    let client = Client::udp4();
    for to in ["10.96.0.53:53", "10.96.0.54:53", "10.96.0.53:53"] {
        assert_eq!(client.ask_at(to), Ok(address(TWO)));
    }
    // Another socket is another matter.
    let other = Client::udp4();
    client.send_to("10.96.0.53:53").unwrap();
    assert_eq!(other.ask_at("10.96.0.54:53"), Ok(address(TWO)));
    let answer = client.received().unwrap();
    assert_eq!(answer, (address(TWO), address("10.96.0.53:53")));
}

#[test]
fn datagrams_that_are_not_ours_are_left_alone() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = backends();
    for (client, to) in [
        (Client::udp4(), TWO),
        (Client::udp6(), "[::ffff:127.0.0.2]:5353"),
        (Client::udp6(), SIX),
    ] {
        let backend = client.ask_at(to).unwrap();
        let canonical = std::net::SocketAddr::new(address(to).ip().to_canonical(), 5353);
        assert_eq!(backend, canonical);
    }
    assert!(mesh.outcomes().values().all(|count| *count == 0));
}

#[test]
fn a_connected_socket_that_names_another_address_is_routed_there() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let backends = backends();
    let client = Client::udp4();
    assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
    client.send_to("10.96.0.123:123").unwrap();
    // Only its peer is heard by a connected socket.
    assert_eq!(client.ask(), Ok(address(TWO)));
    let taken = || backends[1].taken() == 1;
    assert!(kmesh_lite_tests::eventually::eventually(taken));
    assert_eq!(client.peer(), Ok(address("10.96.0.53:53")));
    // To its own peer by name, too.
    assert_eq!(client.ask_at("10.96.0.53:53"), Ok(address(TWO)));
}

#[test]
fn what_a_socket_sent_before_does_not_follow_it_into_a_connection() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(MESH);
    let _backends = backends();
    let client = Client::udp4();
    assert_eq!(client.ask_at("10.96.0.53:53"), Ok(address(TWO)));
    // Straight to the same endpoint: that is its peer now.
    assert_eq!(client.connect(TWO), Ok(()));
    client.send(b"who?");
    assert_eq!(client.received(), Ok((address(TWO), address(TWO))));
    // To another service at the same endpoint.
    assert_eq!(client.connect("10.96.0.54:53"), Ok(()));
    client.send(b"who?");
    let answer = (address(TWO), address("10.96.0.54:53"));
    assert_eq!(client.received(), Ok(answer));
    // And back to sending to anybody.
    client.disconnect();
    assert_eq!(client.ask_at("10.96.0.123:123"), Ok(address(THREE)));
}

#[test]
fn a_port_that_no_service_declares_is_refused_at_each_datagram() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    for to in ["10.96.0.53:54", "10.96.0.10:80", "10.96.0.10:80"] {
        assert_eq!(Client::udp4().send_to(to), Err(Errno::ECONNREFUSED), "{to}");
    }
    assert_eq!(mesh.outcomes()[&Outcome::RefuseUndeclaredUdpPort], 3);
}

/// The kernel does not let a datagram that named an IPv6 address go to an IPv4 one.
#[test]
fn an_ipv6_address_whose_endpoints_are_ipv4_ones_is_unreachable_without_a_connection() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = backends();
    let client = Client::udp6();
    let to = "[fd00:96::53]:53";
    assert_eq!(client.send_to(to), Err(Errno::EHOSTUNREACH));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseFamily], 1);
    assert_eq!(client.connect(to), Ok(()));
    assert_eq!(client.ask(), Ok(address(TWO)));
}

#[test]
fn answers_are_theirs_when_the_service_is_gone() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = backends();
    let client = Client::udp4();
    client.send_to("10.96.0.53:53").unwrap();
    mesh.reload("");
    let answer = client.received().unwrap();
    assert_eq!(answer, (address(TWO), address("10.96.0.53:53")));
}
