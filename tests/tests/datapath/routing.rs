//! From the address that a program asked for to the backend that it gets.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, call, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, routed};
use nix::errno::Errno;

/// Its name, how to make the socket, and what to connect to.
type Way = (&'static str, fn() -> Client, String);

/// Ways for a TCP client to ask for the service `web`.
fn ways() -> [Way; 3] {
    [
        ("IPv4", Client::tcp4, "10.96.0.10:80".to_owned()),
        ("IPv6", Client::tcp6, "[fd00:96::10]:80".to_owned()),
        ("mapped", Client::tcp6, mapped("10.96.0.10:80").to_string()),
    ]
}

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

#[test]
fn blocking_clients_of_every_family_reach_the_backend() {
    let Some(_mesh) = routed(WEB) else { return };
    for (way, client, to) in ways() {
        let client = client();
        assert_eq!(client.connect(&to), Ok(()), "{way}");
        assert_eq!(client.greeting(), address("127.0.0.2:8080"), "{way}");
        client.exchange("there and back\n");
    }
}

#[test]
fn non_blocking_clients_of_every_family_reach_the_backend() {
    let Some(_mesh) = routed(WEB) else { return };
    for (way, client, to) in ways() {
        let client = client();
        assert_eq!(client.connect_nonblocking(&to), Ok(()), "{way}");
        assert_eq!(client.greeting(), address("127.0.0.2:8080"), "{way}");
        assert_eq!(client.peer(), Ok(address(&to)), "{way}");
    }
}

#[test]
fn ipv6_clients_get_ipv6_backends_and_ipv4_clients_ipv4_ones() {
    let Some(host) = Host::new() else { return };
    host.add(&["fd00:1::2"]);
    let _backends = Echo::everywhere(&[8080]);
    let _mesh = host.run(
        r#"
        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2", "fd00:1::2"]
        "#,
    );
    for (way, client, to) in ways() {
        let lands = match way {
            "IPv6" => "[fd00:1::2]:8080",
            _ => "127.0.0.2:8080",
        };
        for _ in 0..20 {
            let client = client();
            assert_eq!(client.connect(&to), Ok(()), "{way}");
            assert_eq!(client.greeting(), address(lands), "{way}");
        }
    }
}

#[test]
fn every_port_has_its_own_translation() {
    let Some(host) = Host::new() else { return };
    let ports: Vec<u16> = (8000..8040).collect();
    let _backends = Echo::everywhere(&ports);
    let mapping: Vec<_> = ports
        .iter()
        .map(|port| format!("\"{}:{port}\"", port - 7000))
        .collect();
    let _mesh = host.run(&format!(
        r#"
        [services.many]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = [{}, 8001]
        endpoints = ["127.0.0.2"]
        "#,
        mapping.join(", ")
    ));
    for port in ports {
        let lands = Ok(address(&format!("127.0.0.2:{port}")));
        assert_eq!(call(&format!("10.96.0.10:{}", port - 7000)), lands);
        assert_eq!(call(&format!("[fd00:96::10]:{}", port - 7000)), lands);
    }
    // Without a colon the port stays as it is.
    assert_eq!(call("10.96.0.10:8001"), Ok(address("127.0.0.2:8001")));
}

#[test]
fn services_share_an_address_by_port_and_protocol() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let _udp = Echo::udp("127.0.0.4:8080");
    let _mesh = host.run(
        r#"
        [services.one]
        vips = ["10.96.0.10"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]

        [services.two]
        vips = ["10.96.0.10"]
        ports = ["81:8080"]
        endpoints = ["127.0.0.3"]

        [services.three]
        vips = ["10.96.0.10"]
        ports = [{ port = 80, target = 8080, protocol = "udp" }]
        endpoints = ["127.0.0.4"]
        "#,
    );
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    assert_eq!(call("10.96.0.10:81"), Ok(address("127.0.0.3:8080")));
    let client = Client::udp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    assert_eq!(client.ask(), Ok(address("127.0.0.4:8080")));
    assert_eq!(
        Client::udp4().connect("10.96.0.10:81"),
        Err(Errno::ECONNREFUSED)
    );
}

#[test]
fn undeclared_ports_of_a_virtual_address_are_refused_for_every_family() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(WEB);
    for (way, client, to) in ways() {
        let to = to.replace(":80", ":81");
        let client = client();
        assert_eq!(client.connect(&to), Err(Errno::ECONNREFUSED), "{way}");
        // By the call itself, not by way of EINPROGRESS.
        let said = client.connect_at_once(&to);
        assert_eq!(said, Err(Errno::ECONNREFUSED), "{way}");
    }
}

#[test]
fn services_without_usable_endpoints_are_unreachable_for_every_family() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(
        r#"
        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = []
        "#,
    );
    let refused = || {
        for (way, client, to) in ways() {
            let client = client();
            assert_eq!(client.connect(&to), Err(Errno::EHOSTUNREACH), "{way}");
            let said = client.connect_at_once(&to);
            assert_eq!(said, Err(Errno::EHOSTUNREACH), "{way}");
        }
    };
    refused();
    // Weight 0 means no new connections.
    mesh.reload(&WEB.replace("\"127.0.0.2\"", r#"{ address = "127.0.0.2", weight = 0 }"#));
    refused();
}

#[test]
fn a_loopback_address_passes_ports_that_are_not_declared() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080, 9090]);
    let mut mesh = host.run(
        r#"
        [services.db]
        vips = ["127.0.0.1"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]
        "#,
    );
    assert_eq!(call("127.0.0.1:80"), Ok(address("127.0.0.2:8080")));
    assert_eq!(call("127.0.0.1:9090"), Ok(address("127.0.0.1:9090")));
    // Nobody listens: an answer of the network, not of ours.
    assert_eq!(call("127.0.0.1:9"), Err(Errno::ECONNREFUSED));
    assert_eq!(mesh.outcomes()[&Outcome::PassUndeclaredPort], 2);
}

#[test]
fn an_own_address_of_the_host_passes_ports_that_are_not_declared() {
    let Some(host) = Host::new() else { return };
    host.add(&["10.1.2.3", "fd00:1::3"]);
    let _backends = Echo::everywhere(&[8080, 9090]);
    let _mesh = host.run(
        r#"
        [services.db]
        vips = ["10.1.2.3", "fd00:1::3"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]
        "#,
    );
    for own in ["10.1.2.3", "[fd00:1::3]"] {
        assert_eq!(call(&format!("{own}:80")), Ok(address("127.0.0.2:8080")));
        let direct = format!("{own}:9090");
        assert_eq!(call(&direct), Ok(address(&direct)));
    }
}

#[test]
fn addresses_that_are_not_ours_are_untouched_and_not_counted() {
    let Some(host) = Host::new() else { return };
    host.add(&["10.1.2.3", "fd00:1::3"]);
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run(WEB);
    for to in ["10.1.2.3:8080", "[fd00:1::3]:8080", "127.0.0.2:8080"] {
        assert_eq!(call(to), Ok(address(to)));
    }
    // No route: the network's own error, not one of ours.
    assert_eq!(call("198.51.100.1:80"), Err(Errno::ENETUNREACH));
    let counters = mesh.counts();
    assert!(
        counters.outcomes.values().all(|count| *count == 0),
        "{counters:?}"
    );
}

#[test]
fn connects_are_counted_by_outcome_service_and_endpoint() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run(&format!(
        r#"{WEB}
        [services.nobody]
        vips = ["10.96.0.11"]
        ports = [80]
        endpoints = []
        "#
    ));
    for _ in 0..3 {
        call("10.96.0.10:80").unwrap();
    }
    for _ in 0..4 {
        call("10.96.0.10:99").unwrap_err();
    }
    for _ in 0..5 {
        call("10.96.0.11:80").unwrap_err();
    }
    let counters = mesh.counts();
    for (outcome, count) in &counters.outcomes {
        let expected = match outcome {
            Outcome::Endpoint => 3,
            Outcome::RefuseUndeclaredPort => 4,
            Outcome::RefuseNoEndpoint => 5,
            _ => 0,
        };
        assert_eq!(*count, expected, "{outcome:?}");
    }
    for (id, row) in &mesh.read().unwrap().tables.rows.services {
        let expected = if row.name.as_str() == "web" { 3 } else { 0 };
        assert_eq!(counters.connects.services[id], expected, "{}", row.name);
    }
    let endpoints: Vec<_> = counters.endpoints.values().collect();
    assert_eq!(endpoints, [&3]);
}
