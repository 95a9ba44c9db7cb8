//! Rows that something else changed or deleted.

use kmesh_lite_ebpf::bits;
use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::host::{Host, Running, routed};
use kmesh_lite_tests::maps::{Maps, address_key, frontend_key};
use nix::errno::Errno;
use std::net::IpAddr;

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.other]
    vips = ["10.96.0.11"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.3"]
"#;

fn both_work() {
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    assert_eq!(call("10.96.0.11:80"), Ok(address("127.0.0.3:8080")));
}

/// Does damage, and expects a pass that repairs it and names what it was about.
fn repaired(names: &[&str], damage: impl FnOnce(&Maps)) {
    let Some(mut mesh) = routed(WEB) else { return };
    both_work();
    damage(&Maps::of(&mesh.host));
    let pass = mesh.reload(WEB);
    let said = pass.drift.join("\n");
    assert!(!said.is_empty());
    for name in names {
        assert!(said.contains(name), "{name} is not in: {said}");
    }
    both_work();
    quiet(&mut mesh);
}

/// Nothing is left to repair or to say.
fn quiet(mesh: &mut Running) {
    let pass = mesh.reload(WEB);
    assert_eq!(pass.operations, 0);
    assert_eq!(pass.drift, Vec::<String>::new());
}

#[test]
fn a_link_that_was_detached_is_put_back() {
    repaired(&["hook connect4 of cgroup", "was detached"], |maps| {
        maps.detach("cgroup_inet4_connect");
        assert_eq!(call("10.96.0.10:80"), Err(Errno::ENETUNREACH));
    });
}

#[test]
fn a_deleted_address_comes_back() {
    repaired(&["10.96.0.10 is missing"], |maps| {
        maps.touch("delete", "ADDRESS_IDS", &address_key(10), None);
        // Ports that no service declares are those of the rest of the host's network now.
        assert_eq!(call("10.96.0.10:81"), Err(Errno::ENETUNREACH));
    });
}

#[test]
fn a_bit_that_was_cleared_is_set_again() {
    repaired(&["addresses: bits of 2 were not set"], |maps| {
        for last in [10, 11] {
            let address = IpAddr::from([10, 96, 0, last]).into();
            let (word, _) = bits::place(bits::of(&address, maps.rows("ADDRESS_BITS") * u64::BITS));
            maps.wipe("ADDRESS_BITS", word);
        }
        assert_eq!(call("10.96.0.10:80"), Err(Errno::ENETUNREACH));
        assert_eq!(call("10.96.0.11:80"), Err(Errno::ENETUNREACH));
    });
}

#[test]
fn a_deleted_frontend_comes_back() {
    repaired(&["web", "10.96.0.10:80/tcp"], |maps| {
        maps.touch("delete", "FRONTEND_IDS", &frontend_key(10), None);
        assert_eq!(call("10.96.0.10:80"), Err(Errno::ECONNREFUSED));
    });
}

#[test]
fn a_frontend_that_was_bent_to_another_service_is_bent_back() {
    repaired(&["web"], |maps| {
        let other = maps.element("FRONTEND_IDS", &frontend_key(11));
        maps.touch("update", "FRONTEND_IDS", &frontend_key(10), Some(&other));
    });
}

#[test]
fn a_foreign_address_is_removed() {
    repaired(&["key 10.96.0.99 leads to no address"], |maps| {
        let id = maps.element("ADDRESS_IDS", &address_key(10));
        maps.touch("update", "ADDRESS_IDS", &address_key(99), Some(&id));
    });
}

#[test]
fn a_wiped_service_comes_back() {
    repaired(&["service"], |maps| {
        maps.wipe("SERVICES", 0);
        maps.wipe("SERVICES", 1);
        // What connects need of a service stands in its frontends.
        both_work();
    });
}

#[test]
fn a_wiped_backend_comes_back() {
    repaired(&["service"], |maps| {
        maps.wipe("BACKENDS", 0);
        // What connects need of a backend stands in its endpoints.
        both_work();
    });
}

#[test]
fn wiped_endpoints_come_back() {
    repaired(&["service"], |maps| {
        maps.wipe("ENDPOINTS", 0);
        maps.wipe("ENDPOINTS", 1);
        assert_eq!(call("10.96.0.10:80"), Err(Errno::EHOSTUNREACH));
    });
}

#[test]
fn wiped_settings_come_back() {
    repaired(&["web", "other"], |maps| maps.wipe("SETTINGS", 0));
}

#[test]
fn absurd_settings_are_survived() {
    repaired(&["generation", "process"], |maps| {
        let settings = maps.element("SETTINGS", &[0; 4]);
        let absurd = vec![0xff; settings.len()];
        maps.touch("update", "SETTINGS", &[0; 4], Some(&absurd));
    });
}

#[test]
fn everything_at_once_comes_back() {
    repaired(&["web", "other"], |maps| {
        for last in [10, 11] {
            maps.touch("delete", "ADDRESS_IDS", &address_key(last), None);
            maps.touch("delete", "FRONTEND_IDS", &frontend_key(last), None);
        }
        for map in [
            "SERVICES",
            "BACKENDS",
            "ENDPOINTS",
            "FRONTENDS",
            "ADDRESSES",
        ] {
            for index in 0..4 {
                maps.wipe(map, index);
            }
        }
    });
}

#[test]
fn the_daemon_is_left_alone_again_after_its_process_was_wiped() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run_as_daemon(WEB);
    let maps = Maps::of(&host);
    let mut settings = maps.element("SETTINGS", &[0; 4]);
    // The last word of the row.
    settings[36..].fill(0);
    maps.touch("update", "SETTINGS", &[0; 4], Some(&settings));
    assert_eq!(call("10.96.0.10:80"), Err(Errno::ECONNREFUSED));
    let pass = mesh.reload(WEB);
    assert!(pass.drift.join("").contains("process"), "{:?}", pass.drift);
    assert_eq!(call("10.96.0.10:80"), Err(Errno::ENETUNREACH));
    quiet(&mut mesh);
}

#[test]
fn no_drift_is_seen_where_there_is_none() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(WEB);
    quiet(&mut mesh);
    // A change of the mesh is not drift.
    let pass = mesh.reload(&WEB.replace("127.0.0.3", "127.0.0.4"));
    assert_ne!(pass.operations, 0);
    assert_eq!(pass.drift, Vec::<String>::new());
}
