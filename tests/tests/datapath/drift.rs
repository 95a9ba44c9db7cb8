//! Rows that something else changed or deleted.

use kmesh_lite::kernel::Options;
use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, Running};
use nix::errno::Errno;
use std::process::Command;

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

/// The maps of the programs of a host, by bpftool.
struct Maps(Vec<(String, String)>);

impl Maps {
    /// Programs of other tests have maps of the same names: those of this host are found by way of
    /// its cgroup.
    fn of(host: &Host) -> Self {
        let folder = host.cgroup.folder().to_str().unwrap();
        let attached = bpftool(&["cgroup", "show", folder]);
        let connect4 = attached.lines().find(|line| line.contains("connect4"));
        let id = connect4.unwrap().split_whitespace().next().unwrap();
        let program = bpftool(&["prog", "show", "id", id]);
        let (_, list) = program.split_once("map_ids ").unwrap();
        let ids = list.split_whitespace().next().unwrap().split(',');
        let named = |id: &str| {
            let map = bpftool(&["map", "show", "id", id]);
            let (_, name) = map.split_once("name ").unwrap();
            let name = name.split_whitespace().next().unwrap();
            (name.to_owned(), id.to_owned())
        };
        Self(ids.map(named).collect())
    }

    fn id(&self, name: &str) -> &str {
        let map = self.0.iter().find(|(known, _)| known == name);
        &map.unwrap_or_else(|| panic!("no map {name}: {:?}", self.0))
            .1
    }

    /// `bpftool map COMMAND id N key hex KEY [value hex VALUE]`.
    fn touch(&self, command: &str, map: &str, key: &[u8], value: Option<&[u8]>) {
        let (key, value) = (hex(key), value.map(hex));
        let mut arguments = vec!["map", command, "id", self.id(map), "key", "hex"];
        arguments.extend(key.iter().map(String::as_str));
        if let Some(value) = &value {
            arguments.extend(["value", "hex"]);
            arguments.extend(value.iter().map(String::as_str));
        }
        bpftool(&arguments);
    }

    /// The bytes of an element.
    fn element(&self, map: &str, key: &[u8]) -> Vec<u8> {
        let key = hex(key);
        let mut arguments = vec!["--json", "map", "lookup", "id", self.id(map), "key", "hex"];
        arguments.extend(key.iter().map(String::as_str));
        let text = bpftool(&arguments);
        let (_, value) = text.split_once("\"value\":[").unwrap();
        let (value, _) = value.split_once(']').unwrap();
        let byte = |text: &str| {
            let digits = text.trim().trim_matches('"').trim_start_matches("0x");
            u8::from_str_radix(digits, 16).unwrap()
        };
        value.split(',').map(byte).collect()
    }

    /// Overwrites an element of an array with zeroes.
    fn wipe(&self, map: &str, index: u32) {
        let key = index.to_ne_bytes();
        let zeroes = vec![0; self.element(map, &key).len()];
        self.touch("update", map, &key, Some(&zeroes));
    }
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The key of an address: mapped, as it is on the wire.
fn address_key(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 96, 0, last]
}

fn frontend_key(last: u8) -> Vec<u8> {
    let mut key = address_key(last).to_vec();
    key.extend([0, 80, libc::IPPROTO_TCP as u8, 0]);
    key
}

fn both_work() {
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    assert_eq!(call("10.96.0.11:80"), Ok(address("127.0.0.3:8080")));
}

/// Does damage, and expects a pass that repairs it and names what it was about.
fn repaired(names: &[&str], damage: impl FnOnce(&Maps)) {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = host.run(WEB);
    both_work();
    damage(&Maps::of(&host));
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
fn a_deleted_address_comes_back() {
    repaired(&["10.96.0.10 is missing"], |maps| {
        maps.touch("delete", "ADDRESS_IDS", &address_key(10), None);
        // The rest of the host's network has the address now.
        assert_eq!(call("10.96.0.10:80"), Err(Errno::ENETUNREACH));
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
        assert_eq!(call("10.96.0.10:80"), Err(Errno::EHOSTUNREACH));
    });
}

#[test]
fn a_wiped_backend_comes_back() {
    repaired(&["service"], |maps| {
        maps.wipe("BACKENDS", 0);
        assert_eq!(call("10.96.0.10:80"), Err(Errno::EHOSTUNREACH));
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
fn the_process_that_is_left_alone_is_again() {
    let Some(host) = Host::new() else { return };
    let mut mesh = Running::load(Options {
        cgroups: Some(vec![host.cgroup.path().to_owned()]),
        daemon: Some(std::process::id()),
        ..Options::default()
    });
    mesh.reload(WEB);
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
fn none_is_seen_where_there_is_none() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(WEB);
    quiet(&mut mesh);
    // A change of the mesh is not drift.
    let pass = mesh.reload(&WEB.replace("127.0.0.3", "127.0.0.4"));
    assert_ne!(pass.operations, 0);
    assert_eq!(pass.drift, Vec::<String>::new());
}
