//! Policies, waypoints and callers, where a socket is not connected.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::user::as_user;
use nix::errno::Errno;
use std::net::SocketAddr;

const NAMES: &str = "10.96.0.53:53";
const TWO: &str = "127.0.0.2:5353";

fn mesh(more: &str) -> String {
    format!(
        r#"
        [services.names]
        vips = ["10.96.0.53", "fd00:96::53"]
        ports = ["53:5353/udp"]
        endpoints = ["127.0.0.2"]

        [services.six]
        vips = ["fd00:96::54"]
        ports = ["53:5353/udp"]
        endpoints = ["::1"]

        {more}
        "#
    )
}

fn policy(action: &str, clients: &[String], more: &str) -> String {
    format!(
        "[policies.names]\naction = '{action}'\nservices = ['names', 'six']\nclients = {clients:?}\n{more}\n"
    )
}

fn cgroup(cgroup: &Cgroup) -> String {
    cgroup.path().display().to_string()
}

fn reached() -> Result<SocketAddr, Errno> {
    Ok(address(TWO))
}

#[test]
fn a_policy_counts_for_the_next_datagram() {
    let Some(host) = Host::new() else { return };
    let _backends = [TWO, "[::1]:5353"].map(Echo::udp);
    let mut running = host.run(&mesh(""));
    let four = Client::udp4();
    let six = Client::udp6();
    assert_eq!(four.ask_at(NAMES), reached());
    assert_eq!(six.ask_at("[fd00:96::54]:53"), Ok(address("[::1]:5353")));
    running.reload(&mesh(&policy("deny", &[cgroup(&host.cgroup)], "")));
    for _ in 0..2 {
        assert_eq!(four.send_to(NAMES), Err(Errno::EACCES));
        assert_eq!(six.send_to("[fd00:96::54]:53"), Err(Errno::EACCES));
    }
    // Each datagram that is refused counts.
    assert_eq!(running.outcomes()[&Outcome::RefuseDenied], 4);
    let connects = running.counts().connects.authorizations;
    assert_eq!(connects.values().copied().collect::<Vec<_>>(), [4]);
    running.reload(&mesh(""));
    assert_eq!(four.ask_at(NAMES), reached());
}

/// One socket, in the hands of one program after another.
#[test]
fn it_is_the_sender_who_is_judged_and_not_the_socket() {
    let Some(host) = Host::new() else { return };
    let _backend = Echo::udp(TWO);
    let below = |name| host.cgroup.child(name).unwrap();
    let (shop, batch) = (below("shop"), below("batch"));
    let allowed = policy("allow", &[cgroup(&shop), "user:4242".into()], "");
    let _running = host.run(&mesh(&allowed));
    let client = shop.run(Client::udp4).unwrap();
    for _ in 0..2 {
        assert_eq!(shop.run(|| client.ask_at(NAMES)).unwrap(), reached());
        let denied = batch.run(|| client.send_to(NAMES)).unwrap();
        assert_eq!(denied, Err(Errno::EACCES));
    }
    let sent = || as_user(4242, || client.ask_at(NAMES));
    assert_eq!(batch.run(sent).unwrap(), reached());
    let denied = as_user(4243, || client.send_to(NAMES));
    assert_eq!(denied, Err(Errno::EACCES));
}

#[test]
fn a_policy_in_audit_mode_counts_choices_and_refuses_nothing() {
    let Some(host) = Host::new() else { return };
    let _backend = Echo::udp(TWO);
    let audit = policy("deny", &["*".into()], "mode = 'audit'");
    let mut running = host.run(&mesh(&audit));
    let client = Client::udp4();
    for _ in 0..5 {
        assert_eq!(client.ask_at(NAMES), reached());
    }
    let connects = running.counts().connects;
    let audited: Vec<_> = connects.authorizations.values().copied().collect();
    assert_eq!(audited, [1]);
    assert_eq!(running.outcomes()[&Outcome::RefuseDenied], 0);
}

/// Straight to an endpoint of a service that policies are about.
#[test]
fn a_datagram_straight_to_an_endpoint_is_judged_as_well() {
    let Some(host) = Host::new() else { return };
    let _backend = Echo::udp(TWO);
    let mut running = host.run(&mesh(&policy("deny", &[cgroup(&host.cgroup)], "")));
    let client = Client::udp4();
    assert_eq!(client.send_to(TWO), Err(Errno::EACCES));
    running.reload(&mesh(""));
    assert_eq!(client.ask_at(TWO), reached());
}

const WAYPOINT: &str = r#"
    [waypoints.edge]
    address = "127.0.1.1:15008"
    header = "none"

    [waypoints.strict]
    address = "127.0.1.1:15009"
    header = "proxy-v2"

    [services.far]
    vips = ["10.96.0.15"]
    ports = ["53:5353/udp"]
    endpoints = ["127.0.0.2"]
    waypoint = "edge"

    [endpoints.seven]
    address = "127.0.0.7"
    waypoint = "edge"

    [endpoints.eight]
    address = "127.0.0.8"
    waypoint = "strict"

    [services.behind]
    vips = ["10.96.0.16"]
    ports = ["53:5353/udp"]
    endpoints = ["seven"]

    [services.strict]
    vips = ["10.96.0.17"]
    ports = ["80:8080"]
    endpoints = ["eight"]
"#;

#[test]
fn a_waypoint_without_a_header_gets_datagrams_in_place_of_endpoints() {
    let Some(host) = Host::new() else { return };
    let _waypoint = Echo::udp("127.0.1.1:15008");
    let mut running = host.run(&mesh(WAYPOINT));
    let client = Client::udp4();
    for to in ["10.96.0.15:53", "10.96.0.16:53", "127.0.0.7:9"] {
        assert_eq!(client.ask_at(to), Ok(address("127.0.1.1:15008")), "{to}");
    }
    // A datagram has no beginning at which a header could stand.
    assert_eq!(client.send_to("127.0.0.8:9"), Err(Errno::EOPNOTSUPP));
    let outcomes = running.outcomes();
    assert_eq!(outcomes[&Outcome::ServiceWaypoint], 1);
    assert_eq!(outcomes[&Outcome::BackendWaypoint], 2);
    assert_eq!(outcomes[&Outcome::RefuseHeader], 1);
}

#[test]
fn callers_that_are_left_alone_or_are_a_waypoint_are_known_at_once() {
    let Some(host) = Host::new() else { return };
    let _backends = [TWO, "127.0.1.1:15008"].map(Echo::udp);
    let proxy = host.cgroup.child("proxy").unwrap();
    let text = mesh(WAYPOINT);
    let mut running = host.run(&text);
    let to = "10.96.0.15:53";
    let client = Client::udp4();
    let sent = || proxy.run(|| client.ask_at(to)).unwrap();
    assert_eq!(sent(), Ok(address("127.0.1.1:15008")));
    // The tables stay at their generation.
    let edge = "header = \"none\"";
    let with = format!("{edge}\nunit = {:?}", cgroup(&proxy));
    running.reload(&text.replacen(edge, &with, 1));
    assert_eq!(sent(), reached());
    assert_eq!(client.ask_at(to), Ok(address("127.0.1.1:15008")));
    running.reload(&text);
    assert_eq!(sent(), Ok(address("127.0.1.1:15008")));
}
