//! Connections that go to a waypoint instead.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::behind::{self, FOUR, SIX};
use kmesh_lite_tests::client::{Client, address, call, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host};
use nix::errno::Errno;
use std::net::SocketAddr;

/// The waypoints run in this unit, if in any.
fn mesh(unit: &str) -> String {
    let header = "header = \"none\"";
    behind::mesh("none").replace(header, &format!("{header}\n{unit}"))
}

fn running() -> Option<(Host, Vec<Echo>)> {
    let host = Host::new()?;
    host.add(&behind::ADDRESSES);
    Some((host, Echo::everywhere(&[8080, 15008])))
}

/// Where a client of the family of `to` ends up; its peer must be what it asked for.
fn lands(to: SocketAddr) -> SocketAddr {
    let client = Client::tcp(to);
    assert_eq!(client.connect(&to.to_string()), Ok(()), "{to}");
    assert_eq!(client.peer(), Ok(to));
    client.greeting()
}

/// `waypoint-limits.md` says so: both connections would be between the same two ends.
#[test]
fn one_source_port_reaches_one_service_behind_a_waypoint() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let _mesh = host.run(&mesh(""));
    let first = Client::tcp4().bind("127.0.0.1:0");
    assert_eq!(first.connect("10.96.0.10:80"), Ok(()));
    let second = Client::tcp4();
    second
        .socket()
        .set_reuse_address(true)
        .expect("SO_REUSEADDR");
    first
        .socket()
        .set_reuse_address(true)
        .expect("SO_REUSEADDR");
    let second = second.bind(&first.own().to_string());
    assert_eq!(second.connect("10.96.0.12:80"), Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn the_waypoint_of_a_service_gets_clients_of_every_family() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let _mesh = host.run(&mesh(""));
    for to in [
        address("10.96.0.10:80"),
        address("[fd00:96::10]:80"),
        mapped("10.96.0.10:80"),
    ] {
        assert_eq!(lands(to), address(FOUR), "{to}");
    }
    assert_eq!(lands(address("[fd00:96::11]:80")), address(SIX));
}

#[test]
fn the_waypoint_of_a_backend_gets_clients_of_its_services() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let _mesh = host.run(&mesh(""));
    for to in [
        address("10.96.0.12:80"),
        address("[fd00:96::12]:80"),
        mapped("10.96.0.12:80"),
    ] {
        assert_eq!(lands(to), address(FOUR), "{to}");
    }
}

#[test]
fn the_waypoint_of_a_backend_gets_clients_of_its_own_address_at_any_port() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let _mesh = host.run(&mesh(""));
    for to in [
        address("127.0.0.3:8080"),
        address("127.0.0.3:1"),
        mapped("127.0.0.3:8080"),
    ] {
        assert_eq!(lands(to), address(FOUR), "{to}");
    }
    // Its neighbour is not captured.
    assert_eq!(lands(address("127.0.0.4:8080")), address("127.0.0.4:8080"));
}

#[test]
fn a_waypoint_is_skipped_by_its_own_connections() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let proxy = host.cgroup.child("proxy").unwrap();
    let unit = format!("unit = {:?}", proxy.path());
    let _mesh = host.run(&mesh(&unit));
    assert_eq!(call("10.96.0.10:80"), Ok(address(FOUR)));
    let skips = || {
        // Load balancing, but no waypoint: neither its own nor another.
        assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
        assert_eq!(call("[fd00:96::11]:80"), Ok(address("127.0.0.2:8080")));
        assert_eq!(call("10.96.0.12:80"), Ok(address("127.0.0.3:8080")));
        assert_eq!(call("127.0.0.3:8080"), Ok(address("127.0.0.3:8080")));
        assert_eq!(call("10.96.0.10:81"), Err(Errno::ECONNREFUSED));
    };
    proxy.run(skips).unwrap();
    // A cgroup inside the unit's, as systemd's Delegate= allows.
    let worker = proxy.child("worker").unwrap();
    worker.run(skips).unwrap();
    assert_eq!(call("10.96.0.10:80"), Ok(address(FOUR)));
}

#[test]
fn a_waypoint_is_found_by_the_name_of_its_unit_and_again_after_a_restart_of_the_unit() {
    let Some((host, _backends)) = running() else {
        return;
    };
    // Unit names are searched for in the whole tree: this one must not meet another test's.
    let name = format!("proxy-{}.service", std::process::id());
    let slice = host.cgroup.child("system.slice").unwrap();
    let text = mesh(&format!("unit = {name:?}"));
    let mut mesh = host.run(&text);
    for _ in 0..2 {
        let unit = slice.child(&name).unwrap();
        let pass = mesh.reload(&text);
        assert_ne!(pass.operations, 0);
        let reached = unit.run(|| call("10.96.0.10:80")).unwrap();
        assert_eq!(reached, Ok(address("127.0.0.2:8080")));
    }
    assert_eq!(call("10.96.0.10:80"), Ok(address(FOUR)));
}

#[test]
fn a_waypoint_is_known_as_soon_as_it_runs_without_a_pass_and_not_taken_for_drift() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let name = format!("greeted-{}.service", std::process::id());
    let slice = host.cgroup.child("system.slice").unwrap();
    let text = mesh(&format!("unit = {name:?}"));
    let mut mesh = host.run(&text);
    let unit = slice.child(&name).unwrap();
    let reached = || unit.run(|| call("10.96.0.10:80")).unwrap();
    assert_eq!(reached(), Ok(address(FOUR)));
    mesh.meet(&host::mesh(&text));
    assert_eq!(reached(), Ok(address("127.0.0.2:8080")));
    let pass = mesh.reload(&text);
    assert_eq!((pass.operations, pass.drift), (0, Vec::new()));
    drop(unit);
    assert_eq!(mesh.reload(&text).operations, 2, "the cgroup and its level");
}

#[test]
fn a_waypoint_that_is_down_gives_the_client_its_error() {
    let Some(host) = Host::new() else { return };
    let _mesh = host.run(&mesh(""));
    assert_eq!(call("10.96.0.10:80"), Err(Errno::ECONNREFUSED));
}

#[test]
fn a_waypoint_comes_changes_and_goes_by_reload_for_new_connections_only() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let with = mesh("");
    let without = with.replace("waypoint = \"four\"", "");
    let moved = with.replace("127.0.1.1:15008", "127.0.1.2:15008");
    let mut mesh = host.idle();
    let mut open = Vec::new();
    for (text, whole, direct) in [
        (&without, "127.0.0.2:8080", "127.0.0.3:8080"),
        (&with, FOUR, FOUR),
        (&moved, "127.0.1.2:15008", "127.0.1.2:15008"),
        (&without, "127.0.0.2:8080", "127.0.0.3:8080"),
    ] {
        mesh.reload(text);
        assert_eq!(call("127.0.0.3:8080"), Ok(address(direct)));
        let client = Client::tcp4();
        assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
        assert_eq!(client.greeting(), address(whole));
        open.push(client);
    }
    for client in open {
        assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
        client.exchange("as before\n");
    }
}

#[test]
fn redirects_to_waypoints_are_counted_by_kind() {
    let Some((host, _backends)) = running() else {
        return;
    };
    let proxy = host.cgroup.child("proxy").unwrap();
    let mut mesh = host.run(&mesh(&format!("unit = {:?}", proxy.path())));
    call("10.96.0.10:80").unwrap();
    for to in ["10.96.0.12:80", "127.0.0.3:8080"] {
        call(to).unwrap();
    }
    proxy.run(|| call("127.0.0.3:8080").unwrap()).unwrap();
    for (outcome, count) in mesh.outcomes() {
        let expected = match outcome {
            Outcome::ServiceWaypoint | Outcome::PassDirect => 1,
            Outcome::BackendWaypoint => 2,
            _ => 0,
        };
        assert_eq!(count, expected, "{outcome:?}");
    }
}
