//! Endpoints with ports of their own, and the counters of endpoints.

use kmesh_lite::model::{Facts, Mesh};
use kmesh_lite::report::{self, Known};
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, Running};
use kmesh_lite_tests::spread::{Spread, assert_weights};
use kmesh_lite_tests::waypoint::Waypoint;
use nix::errno::Errno;
use std::collections::BTreeMap;

/// Where so many connects end up.
fn draw(to: &str, connects: u64) -> Spread {
    let mut spread = Spread::new();
    for _ in 0..connects {
        let reached = call(to).unwrap_or_else(|error| panic!("{to}: {error}"));
        *spread.entry(reached.to_string()).or_default() += 1;
    }
    spread
}

/// The connects that `status` shows, by service and endpoint.
fn counted(running: &mut Running, mesh: &Mesh) -> BTreeMap<String, u64> {
    let snapshot = running.snapshot().expect("a snapshot");
    let status = report::status(&snapshot, Some(mesh), &Facts::default(), &Known::default());
    let mut counted = BTreeMap::new();
    for service in status.services {
        for endpoint in service.priorities.into_iter().flat_map(|it| it.endpoints) {
            let name = format!("{} {}", service.name, endpoint.endpoint);
            assert_eq!(counted.insert(name, endpoint.connects), None);
        }
    }
    counted
}

fn sorted<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn two_servers_at_one_address_share_a_service_by_weight() {
    let Some(host) = Host::new() else { return };
    let _backends = [8080, 8081, 8082].map(|port| Echo::brief(&format!("[::]:{port}")));
    let _mesh = host.run(
        r#"
        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = [
          "127.0.0.2:8081",
          { address = "127.0.0.2:8082", weight = 3 },
          { address = "127.0.0.3", weight = 4 },
          { address = "127.0.0.2", weight = 0 },
        ]
        "#,
    );
    let weights = [
        ("127.0.0.2:8081", 1),
        ("127.0.0.2:8082", 3),
        ("127.0.0.3:8080", 4),
        ("127.0.0.2:8080", 0),
    ];
    assert_weights(&draw("10.96.0.10:80", 1000), &weights);
    assert_weights(&draw("[fd00:96::10]:80", 300), &weights);
}

#[test]
fn an_ipv6_endpoint_has_a_port_of_its_own_and_the_peer_stays_the_one_asked_for() {
    let Some(host) = Host::new() else { return };
    host.add(&["fd00:1::2"]);
    let _backends = Echo::everywhere(&[8080, 8081]);
    let _mesh = host.run(
        r#"
        [services.web]
        vips = ["fd00:96::10"]
        ports = ["80:8080"]
        endpoints = ["[fd00:1::2]:8081"]
        "#,
    );
    let client = Client::tcp6();
    assert_eq!(client.connect("[fd00:96::10]:80"), Ok(()));
    assert_eq!(client.greeting(), address("[fd00:1::2]:8081"));
    assert_eq!(client.peer(), Ok(address("[fd00:96::10]:80")));
}

/// Behind 80 and 443 the endpoints have ports of their own, behind 9100 they share the service's.
const SEVERAL: &str = r#"
    [node]
    locality = "eu/a"

    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080", "443:8443", 9100]
    policy = "failover"
    prefer = ["region"]
    endpoints = [
      { address = "127.0.0.2", ports = { 80 = 8081, 443 = 8444 }, locality = "eu/a", weight = NEAR },
      { address = "127.0.0.2", ports = { 80 = 8082 }, locality = "eu/a", weight = NEAR },
      { address = "127.0.0.3", ports = { 443 = 8445 }, locality = "us/a" },
    ]
"#;

#[test]
fn each_port_of_a_service_goes_to_the_port_that_the_endpoint_has_for_it() {
    let Some(host) = Host::new() else { return };
    let ports = [8080, 8081, 8082, 8443, 8444, 8445, 9100];
    let _backends = ports.map(|port| Echo::brief(&format!("[::]:{port}")));
    let near = SEVERAL.replace("NEAR", "1");
    let mut mesh = host.run(&near);
    let equal = |one, two| [(one, 1), (two, 1)];
    let both = equal("127.0.0.2:8081", "127.0.0.2:8082");
    assert_weights(&draw("10.96.0.10:80", 500), &both);
    let both = equal("127.0.0.2:8444", "127.0.0.2:8443");
    assert_weights(&draw("10.96.0.10:443", 500), &both);
    assert_weights(&draw("10.96.0.10:9100", 20), &[("127.0.0.2:9100", 1)]);
    assert_eq!(call("10.96.0.10:8081"), Err(Errno::ECONNREFUSED));
    // The next priority, after both were drained.
    let far = SEVERAL.replace("NEAR", "0");
    mesh.reload(&far);
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
    assert_eq!(call("10.96.0.10:443"), Ok(address("127.0.0.3:8445")));
    assert_eq!(call("10.96.0.10:9100"), Ok(address("127.0.0.3:9100")));
    let expected = [
        ("web 127.0.0.3 (443 = 8445)", 3),
        ("web 127.0.0.2 (80 = 8082)", 0),
        ("web 127.0.0.2 (80 = 8081, 443 = 8444)", 0),
    ];
    let counted = counted(&mut mesh, &host::mesh(&far));
    let names = |counts: &BTreeMap<String, u64>| counts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&counted), names(&sorted(expected)));
    assert_eq!(counted["web 127.0.0.3 (443 = 8445)"], 3);
    // Those that take no new connections show what they took.
    assert_eq!(counted.values().sum::<u64>(), 500 + 500 + 20 + 3);
}

#[test]
fn connected_datagram_sockets_reach_the_endpoints_own_port() {
    let Some(host) = Host::new() else { return };
    let _backend = Echo::udp("127.0.0.2:5353");
    let _mesh = host.run(
        r#"
        [services.dns]
        vips = ["10.96.0.53"]
        ports = ["53/udp", "53/tcp"]
        endpoints = ["127.0.0.2:5353"]
        "#,
    );
    let client = Client::udp4();
    assert_eq!(client.connect("10.96.0.53:53"), Ok(()));
    assert_eq!(client.ask(), Ok(address("127.0.0.2:5353")));
}

#[test]
fn a_captured_backend_keeps_its_waypoint_whatever_ports_its_endpoints_have() {
    let Some(host) = Host::new() else { return };
    let waypoint = Waypoint::listen(15008);
    let _backends = Echo::everywhere(&[8081]);
    let proxy = host.cgroup.child("proxy").unwrap();
    let _mesh = host.run(&format!(
        r#"
        [waypoints.edge]
        address = "127.0.1.1:15008"
        header = "proxy-v2"
        unit = {:?}

        [endpoints.captured]
        address = "127.0.0.3"
        waypoint = "edge"

        [services.web]
        vips = ["10.96.0.10"]
        ports = ["80:8080"]
        endpoints = [{{ name = "captured", ports = {{ 80 = 8081 }} }}]
        "#,
        proxy.path()
    ));
    // Every port of the address, and the service: the header says what was asked for.
    for to in ["10.96.0.10:80", "127.0.0.3:8080", "127.0.0.3:8081"] {
        let client = Client::tcp4();
        assert_eq!(client.connect(to), Ok(()), "{to}");
        client.send(b"hello");
        client.finish();
        let heard = waypoint.heard();
        assert_eq!(heard.payload(), b"hello");
        let (_, asked) = heard.proxy().expect("a header");
        assert_eq!(asked, address(to));
    }
    // The waypoint then asks for that itself.
    let reached = proxy.run(|| call("10.96.0.10:80")).unwrap();
    assert_eq!(reached, Ok(address("127.0.0.3:8081")));
}

#[test]
fn services_that_share_an_address_count_for_themselves() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let text = r#"
        [endpoints.app]
        address = "127.0.0.2"

        [services.cart]
        vips = ["10.96.0.10"]
        ports = ["80:8080"]
        endpoints = ["app"]

        [services.shop]
        vips = ["10.96.0.11"]
        ports = ["80:8080"]
        endpoints = ["app", { address = "127.0.0.3", weight = 0 }]
    "#;
    let mut mesh = host.run(text);
    for (to, connects) in [("10.96.0.10:80", 3), ("10.96.0.11:80", 5)] {
        draw(to, connects);
    }
    let expected = [
        ("cart 127.0.0.2", 3),
        ("shop 127.0.0.2", 5),
        ("shop 127.0.0.3", 0),
    ];
    assert_eq!(counted(&mut mesh, &host::mesh(text)), sorted(expected));
    // The counter of an endpoint that went is given to one that came, which has no connects yet.
    let other = text.replace(r#"endpoints = ["app"]"#, r#"endpoints = ["127.0.0.4"]"#);
    mesh.reload(&other);
    let expected = [
        ("cart 127.0.0.4", 0),
        ("shop 127.0.0.2", 5),
        ("shop 127.0.0.3", 0),
    ];
    assert_eq!(counted(&mut mesh, &host::mesh(&other)), sorted(expected));
    mesh.reload(text);
    draw("10.96.0.10:80", 1);
    let expected = [
        ("cart 127.0.0.2", 1),
        ("shop 127.0.0.2", 5),
        ("shop 127.0.0.3", 0),
    ];
    assert_eq!(counted(&mut mesh, &host::mesh(text)), sorted(expected));
}
