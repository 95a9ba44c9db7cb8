use super::*;
use crate::config::Host;
use crate::sources::Files;
use crate::tables::{Actual, build};

/// The services of a file, with as many connects to each endpoint as the number of its counter.
fn services(text: &str) -> Vec<ServiceStatus> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.toml");
    std::fs::write(&path, text).unwrap();
    let mesh = Files::new(&path).load(&Host::default()).mesh.unwrap();
    let built = build(&mesh, &Facts::default(), &Actual::default(), 0);
    let tables = built.unwrap().tables;
    let ids = tables.endpoint_ids().into_iter();
    let snapshot = Snapshot {
        generation: 1,
        counters: Counters {
            endpoints: ids.map(|id| (id, u64::from(id.index()) + 1)).collect(),
            ..Counters::default()
        },
        room: mesh.limits,
        tables,
        ..Snapshot::default()
    };
    status(&snapshot, Some(&mesh), &Facts::default(), &Known::default()).services
}

fn endpoints(service: &ServiceStatus) -> Vec<(&str, u64)> {
    let endpoints = service.priorities.iter().flat_map(|it| &it.endpoints);
    endpoints
        .map(|it| (it.endpoint.as_str(), it.connects))
        .collect()
}

#[test]
fn services_that_share_an_address_show_their_own_connects() {
    let services = services(
        r#"
        [services.cart]
        vips = ["10.96.0.10"]
        ports = [80]
        endpoints = ["192.168.1.10", { address = "192.168.1.11", weight = 0 }]
        [services.shop]
        vips = ["10.96.0.11"]
        ports = [80]
        endpoints = ["192.168.1.10"]
        "#,
    );
    let expected = [("192.168.1.10", 1), ("192.168.1.11", 2)];
    assert_eq!(endpoints(&services[0]), expected);
    assert_eq!(endpoints(&services[1]), [("192.168.1.10", 3)]);
}

#[test]
fn endpoints_behind_the_waypoint_of_their_service_are_not_in_use() {
    let services = services(
        r#"
        [waypoints.edge]
        address = "10.0.0.5:15008"
        header = "none"
        [services.behind]
        vips = ["10.96.0.10"]
        ports = [80]
        waypoint = "edge"
        endpoints = ["192.168.1.10"]
        [services.plain]
        vips = ["10.96.0.11"]
        ports = [80]
        endpoints = ["192.168.1.10"]
        "#,
    );
    let in_use = |service: &ServiceStatus| service.priorities[0].in_use;
    assert!(!in_use(&services[0]));
    assert!(in_use(&services[1]));
}

#[test]
fn own_ports_are_shown_with_the_place_of_each_endpoint() {
    let services = services(
        r#"
        [services.one]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = ["192.168.1.10:8081", { address = "[fd00::1]:8082", locality = "eu/a" }]
        [services.several]
        vips = ["10.96.0.11"]
        ports = [80, "53/udp", "53/tcp"]
        endpoints = [
          { address = "192.168.1.10", ports = { 80 = 8081, "53/udp" = 5353 }, locality = "eu/b" },
          { address = "192.168.1.10", ports = { 80 = 8082 }, locality = "eu/c", weight = 0 },
        ]
        "#,
    );
    let shown = |service: &ServiceStatus| {
        let endpoints = service.priorities.iter().flat_map(|it| &it.endpoints);
        endpoints
            .map(|it| format!("{} {}", it.endpoint, it.locality))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&services[0]),
        ["192.168.1.10:8081 ", "[fd00::1]:8082 eu/a"]
    );
    assert_eq!(
        shown(&services[1]),
        [
            "192.168.1.10 (53/udp = 5353, 80 = 8081) eu/b",
            "192.168.1.10 (80 = 8082) eu/c"
        ]
    );
    let ports = &services[1].priorities[0].endpoints[0].ports;
    let expected = [("53/udp".to_owned(), 5353), ("80/tcp".to_owned(), 8081)];
    assert_eq!(*ports, expected.into());
}
