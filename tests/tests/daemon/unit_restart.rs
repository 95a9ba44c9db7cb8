//! A proxy of this host whose unit is stopped and started, as systemd does it: its cgroup is removed
//! and another one made. The daemon's timer is far away and nobody asks for a reload.

use crate::PROGRAM;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{address, call as reaches};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::page::{call, get, pages};
use kmesh_lite_tests::proxy::{FOUR, Proxy, Unit, haproxy, host};
use nix::errno::Errno;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// HAProxy connects to the virtual address itself: sent back to itself it would never get through.
const HAPROXY: &str = r#"
global
    log stdout format raw daemon
defaults
    log global
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend waypoint
    bind 127.0.0.1:15008 accept-proxy
    log-format "asked=%[dst]:%[dst_port]"
    default_backend mesh
backend mesh
    server mesh 10.96.0.90:80
"#;

fn mesh(unit: &str) -> String {
    limited(&format!(
        r#"
        [waypoints.edge]
        address = "127.0.0.1:15008"
        header = "proxy-v2"
        unit = "{unit}"

        [services.ledger]
        vips = ["10.96.0.90"]
        ports = ["80:8080"]
        waypoint = "edge"
        endpoints = ["192.168.1.90", "192.168.1.91"]
        "#
    ))
}

/// Ids of the cgroups that the kernel treats specially.
fn callers(daemon: &Daemon) -> Vec<u64> {
    let dump = daemon.json(&["dump"]);
    let mut tables = dump["tables"].as_array().unwrap().iter();
    let callers = tables.find(|table| table["name"] == "callers").unwrap();
    let rows = callers["rows"].as_array().unwrap().iter();
    rows.map(|row| row["cgroup"].as_u64().unwrap()).collect()
}

fn id(cgroup: &Cgroup) -> u64 {
    fs::metadata(cgroup.folder()).unwrap().ino()
}

/// Starts HAProxy in the new cgroup of its unit at once, as systemd does; returns when the kernel
/// knows the unit.
fn start(daemon: &mut Daemon, unit: Cgroup, file: &Path) -> Proxy {
    let cgroup = id(&unit);
    let proxy = haproxy(Unit::of(unit), file, &["127.0.0.1:15008"]);
    daemon.wait_until("the new cgroup counts", |it| callers(it) == [cgroup]);
    proxy
}

#[test]
fn connections_of_a_restarted_proxy_are_balanced_and_never_sent_back_to_it() {
    let Some(host) = host(&["haproxy", "curl"], &["192.168.1.90", "192.168.1.91"]) else {
        return;
    };
    pages(&[8080]);
    // Names are searched for on the whole machine: this one must not meet another test's.
    let name = format!("haproxy-{}.service", std::process::id());
    let slice = host.cgroup.child("system.slice").unwrap();
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&mesh(&name)));
    assert_eq!(callers(&daemon), [0; 0]);
    assert!(daemon.log().contains(&format!("{name} has no cgroup now")));
    let file = daemon.path("haproxy.cfg");
    fs::write(&file, HAPROXY).unwrap();
    let by: &[_] = &["192.168.1.90:8080", "192.168.1.91:8080"];
    for _ in 0..4 {
        let unit = slice.child(&name).unwrap();
        let proxy = start(&mut daemon, unit, &file);
        for _ in 0..10 {
            let (page, _) = get(&call(Some(FOUR), "10.96.0.90:80", by));
            let (answered, _) = page.split_once(" for ").unwrap();
            assert!(by.contains(&answered), "{page}");
        }
        // Every connection that came to it is a line; one for each client is none of its own.
        let log = proxy.retire();
        assert_eq!(log.matches("asked=10.96.0.90:80").count(), 10, "{log}");
        daemon.wait_until("the old cgroup is forgotten", |it| callers(it).is_empty());
    }
    let log = daemon.log();
    assert_eq!(
        log.matches(&format!("{name} is cgroup")).count(),
        4,
        "{log}"
    );
    assert_eq!(log.matches("has stopped").count(), 4, "{log}");
}

/// What a program in a cgroup reaches through the virtual address.
fn from(cgroup: &Cgroup) -> Result<std::net::SocketAddr, Errno> {
    cgroup.run(|| reaches("10.96.0.10:80")).unwrap()
}

#[test]
fn units_that_bypass_the_mesh_are_found_in_slices_that_appear_too() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let name = format!("backup-{}.service", std::process::id());
    let path = host.cgroup.path().join("pod/inner");
    let text = limited(&format!(
        "[capture]\nbypass = [{name:?}, {path:?}]\n[services.web]\nvips = [\"10.96.0.10\"]\n\
         ports = [\"80:8080\"]\nendpoints = [\"127.0.0.2\"]\n"
    ));
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&text));
    let routed = Ok(address("127.0.0.2:8080"));
    for _ in 0..3 {
        let slice = host.cgroup.child("a.slice").unwrap();
        let inner = slice.child("a-b.slice").unwrap();
        let unit = inner.child(&name).unwrap();
        let pod = host.cgroup.child("pod").unwrap();
        let container = pod.child("inner").unwrap();
        daemon.wait_until("both count", |it| callers(it).len() == 2);
        for cgroup in [&unit, &container] {
            assert_eq!(from(cgroup), Err(Errno::ENETUNREACH));
        }
        for cgroup in [&inner, &pod] {
            assert_eq!(from(cgroup), routed);
        }
        drop((container, pod, unit, inner, slice));
        daemon.wait_until("both are forgotten", |it| callers(it).is_empty());
    }
}
