//! The connection table: which sockets are in it, for how long, and what they remember.

mod changes;
mod processes;
mod storm;

use kmesh_lite_common::{Connection, Protocol};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::fates::MESH;
use kmesh_lite_tests::host::{Host, Running, routed};
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// An address that no service has.
const FOREIGN: &str = "127.0.0.2:8080";

fn asked(connection: &Connection) -> SocketAddr {
    SocketAddr::new(connection.address.into(), connection.port.get())
}

#[test]
fn a_connection_is_listed_from_connect_until_it_is_closed() {
    let Some(mesh) = routed(MESH) else { return };
    let began = monotonic();
    for (client, to, protocol) in [
        (Client::tcp4(), "10.96.0.10:80", Protocol::Tcp),
        (Client::tcp6(), "[fd00:96::10]:80", Protocol::Tcp),
        (Client::tcp6(), "[::ffff:10.96.0.10]:80", Protocol::Tcp),
        (Client::udp4(), "10.96.0.53:53", Protocol::Udp),
        (Client::udp6(), "[fd00:96::53]:53", Protocol::Udp),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let listed = mesh.listed();
        let connection = &listed[&client.cookie()];
        assert_eq!(listed.len(), 1);
        assert_eq!(asked(connection), canonical(address(to)));
        assert_eq!(connection.protocol, protocol);
        assert_eq!(connection.process, std::process::id());
        assert_eq!(connection.user, nix::unistd::getuid().as_raw());
        assert_eq!(connection.cgroup, mesh.host.cgroup_id());
        assert!(connection.service.is_some() && connection.endpoint.is_some());
        assert!(connection.backend.is_some() && connection.waypoint.is_none());
        // The clock of rows is as coarse as a tick.
        assert!(connection.since + 20_000_000 >= began);
        assert!(connection.since <= monotonic());
        drop(client);
        holds(&mesh, []);
    }
}

#[test]
fn a_connection_that_comes_to_nothing_is_listed_until_its_socket_ends() {
    let Some(mesh) = routed(MESH) else { return };
    let outcomes = [
        ("10.96.0.13:80", Errno::ECONNREFUSED),
        // This host has no route there.
        ("10.96.0.14:80", Errno::ENETUNREACH),
    ];
    for (to, error) in outcomes {
        let client = Client::tcp4();
        assert_eq!(client.connect(to), Err(error));
        assert!(mesh.listed().contains_key(&client.cookie()), "{to}");
        drop(client);
        holds(&mesh, []);
    }
    // One that is refused was never sent anywhere.
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.12:80"), Err(Errno::EHOSTUNREACH));
    holds(&mesh, []);
}

#[test]
fn a_connection_that_no_local_port_is_left_for_leaves_nothing() {
    let Some(mesh) = routed(MESH) else { return };
    // All ports that there are to pick from are one, and it is taken for the same peer.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000").expect("one port");
    let first = Client::tcp4();
    assert_eq!(first.connect("10.96.0.10:80"), Ok(()));
    let second = Client::tcp4();
    assert_eq!(second.connect("10.96.0.10:80"), Err(Errno::EADDRNOTAVAIL));
    drop(second);
    holds(&mesh, [first.cookie()]);
}

#[test]
fn a_socket_that_connects_again_has_one_slot_or_none() {
    let Some(mesh) = routed(MESH) else { return };
    let client = Client::tcp4();
    for (to, is_listed) in [
        ("10.96.0.10:80", true),
        (FOREIGN, false),
        ("10.96.0.10:80", true),
        ("10.96.0.10:80", true),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let listed = mesh.listed().contains_key(&client.cookie());
        assert_eq!(
            (listed, mesh.listed().len()),
            (is_listed, usize::from(is_listed))
        );
        client.disconnect();
    }
    let client = Client::udp4();
    for (to, is_listed) in [
        ("10.96.0.53:53", true),
        (FOREIGN, false),
        ("10.96.0.53:53", true),
    ] {
        assert_eq!(client.connect(to), Ok(()), "{to}");
        let listed = mesh.listed().contains_key(&client.cookie());
        assert_eq!(listed, is_listed, "{to}");
    }
}

/// Four slots, and ten sockets.
#[test]
fn sockets_that_find_no_slot_remember_by_themselves() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run_with_slots(1, MESH);
    let mut clients = Vec::new();
    for number in 0..10 {
        let client = Client::tcp6();
        let to = ["[fd00:96::10]:80", "[::ffff:10.96.0.10]:80"][number % 2];
        assert_eq!(client.connect(to), Ok(()));
        clients.push((client, to));
    }
    assert_eq!(mesh.listed().len(), 4);
    assert_eq!(mesh.outcomes()[&Outcome::Unlisted], 6);
    for (client, to) in &clients {
        assert_eq!(client.peer(), Ok(address(to)));
    }
    // Those that have slots let go of them, and the others take them when they connect again.
    clients.drain(..4);
    holds(&mesh, []);
    for (client, _) in &clients {
        client.disconnect();
        assert_eq!(client.connect("[fd00:96::10]:80"), Ok(()));
        assert_eq!(client.peer(), Ok(address("[fd00:96::10]:80")));
    }
    assert_eq!(mesh.listed().len(), 4);
    for (client, _) in &clients {
        client.disconnect();
        let foreign = mapped(FOREIGN).to_string();
        assert_eq!(client.connect(&foreign), Ok(()));
        assert_eq!(client.peer(), Ok(address(&foreign)));
    }
    holds(&mesh, []);
}

/// The table comes to hold the sockets with these cookies, and no others. Other tests of this process may
/// be starting programs, which have copies of all its descriptors for a moment.
fn holds<const N: usize>(mesh: &Running, cookies: [u64; N]) {
    let cookies = BTreeSet::from(cookies);
    let holds = eventually(|| keys(&mesh.listed()) == cookies);
    assert!(holds, "{:?}, not {cookies:?}", keys(&mesh.listed()));
}

fn keys<T>(map: &BTreeMap<u64, T>) -> BTreeSet<u64> {
    map.keys().copied().collect()
}

/// Mapped addresses as what they are.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn monotonic() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    std::time::Duration::from(now.expect("a clock")).as_nanos() as u64
}
