//! What the configuration reader says of good and bad files.
//!
//! A case is a folder of `golden/check/`: the files as an operator wrote them, and `expected.txt`,
//! all that is said about them. `KMESH_LITE_BLESS=1` rewrites the expectations.

use kmesh_lite::config::{Host, Loaded, Route, Severity, schema};
use kmesh_lite::model::{
    Action, Authorization, LocalPorts, Locality, Mode, OnError, Principal, Protocol, Source,
};
use kmesh_lite::report::problems::{findings, render, summary};
use kmesh_lite::sources::Files;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn host() -> Host {
    let units = ["haproxy.service", "sshd.service", "getty@.service"];
    Host {
        name: "web-1".to_owned(),
        own_addresses: ["192.168.1.5".parse().unwrap(), "fd00::5".parse().unwrap()].into(),
        routes: vec![Route {
            network: "10.77.0.0/16".parse().unwrap(),
            device: "eth1".to_owned(),
        }],
        unit_files: Some(units.map(str::to_owned).into()),
        users: BTreeMap::from([("root".to_owned(), 0), ("postgres".to_owned(), 103)]),
        groups: BTreeMap::from([("root".to_owned(), 0), ("ops".to_owned(), 1200)]),
    }
}

fn load(main: &Path) -> Loaded {
    Files::new(main).load(&host())
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Sorted, so that failures come in the same order every time.
fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = folder.read_dir().unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_file_gets_the_diagnostics_that_are_expected() {
    let bless = std::env::var_os("KMESH_LITE_BLESS").is_some();
    let mut wrong = Vec::new();
    let cases = entries(&folder("golden/check"));
    assert!(!cases.is_empty());
    for case in cases {
        let loaded = load(&case.join("mesh.toml"));
        let folder = format!("{}/", case.display());
        let mut said = render(&loaded.problems, false).replace(&folder, "");
        if said.is_empty() {
            said = "nothing\n".to_owned();
        } else {
            said.push_str(&format!("{}\n", summary(&loaded.problems)));
        }
        assert_eq!(loaded.mesh.is_none(), loaded.problems.has_errors());
        same_as_data(&loaded);
        let expected = case.join("expected.txt");
        if bless {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nif this is right, run again with KMESH_LITE_BLESS=1",
        wrong.join("\n")
    );
}

/// JSON tells no less than the text.
fn same_as_data(loaded: &Loaded) {
    let data = findings(&loaded.problems, false);
    assert_eq!(data.errors, loaded.problems.count(Severity::Error));
    let problems = data.list.as_array().unwrap();
    assert_eq!(problems.len(), loaded.problems.len());
    for (problem, data) in loaded.problems.iter().zip(problems) {
        assert_eq!(data["message"], problem.message);
        assert_eq!(data["line"].as_u64(), problem.line().map(|n| n as u64));
        assert_eq!(data["column"].as_u64(), problem.column().map(|n| n as u64));
        assert_eq!(
            data["related"].as_array().unwrap().len(),
            problem.related.len()
        );
    }
}

fn examples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in entries(&folder("../examples-config")) {
        if entry.is_dir() {
            // Drop-ins of systemd are no meshes.
            found.extend(
                [entry.join("mesh.toml")]
                    .into_iter()
                    .filter(|file| file.exists()),
            );
        } else if entry
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(entry);
        }
    }
    found
}

fn as_json(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    let table: toml::Table = text.parse().unwrap();
    serde_json::to_value(table).unwrap()
}

#[test]
fn every_example_is_valid() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    assert!(examples().len() >= 17);
    for example in examples() {
        // Whatever units the reader's host has.
        let host = Host {
            unit_files: None,
            ..host()
        };
        let loaded = Files::new(&example).load(&host);
        let said = render(&loaded.problems, false);
        assert!(loaded.mesh.is_some(), "{}:\n{said}", example.display());
        assert_eq!(loaded.problems.count(Severity::Warning), 0, "{said}");
        for file in &loaded.origins {
            let errors: Vec<_> = validator
                .iter_errors(&as_json(file.as_path()))
                .map(|e| e.to_string())
                .collect();
            assert!(errors.is_empty(), "{file}: {errors:#?}");
        }
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for bad in [
        "nodes = {}",
        "node.nmae = 'x'",
        "node.name = 1",
        "mesh.vip_ranges = '10.0.0.0/8'",
        "mesh.vip_ranges = ['10.0.0.0']",
        "capture.cgroups = ['user']",
        "capture.bypass = ['sshd']",
        "limits.endpoints = 0",
        "limits.endpoints = 16000001",
        "localities.x = 'a/b/c/d'",
        "localities.x = { regoin = 'a' }",
        "localities.'-x' = 'a'",
        "waypoints.w = { address = '10.0.0.1:1' }",
        "waypoints.w = { address = '10.0.0.1', header = 'none' }",
        "waypoints.w = { address = '10.0.0.1:1', header = 'proxy' }",
        "services.s = { vips = ['auto'] }",
        "services.s = { ports = [80] }",
        "services.s = { vips = ['any'], ports = [80] }",
        "services.s = { vips = ['auto'], ports = [0] }",
        "services.s = { vips = ['auto'], ports = [65536] }",
        "services.s = { vips = ['auto'], ports = ['80/sctp'] }",
        "services.s = { vips = ['auto'], ports = [{ target = 80 }] }",
        "services.s = { vips = ['auto'], ports = [80], policy = 'nearest' }",
        "services.s = { vips = ['auto'], ports = [80], prefer = ['planet'] }",
        "services.s = { vips = ['auto'], ports = [80], hostnames = ['Upper'] }",
        "services.s = { vips = ['auto'], ports = [80], endpoints = [{ weight = -1, address = '::1' }] }",
        "services.s = { vips = ['auto'], ports = [80], endpoints = [{ wieght = 1, address = '::1' }] }",
        "endpoints.e = { locality = 'x' }",
        "policies.p = { action = 'allow', clients = ['*'] }",
        "policies.p = { action = 'allow', ports = [22] }",
        "policies.p = { action = 'allow', ports = [22], clients = ['*'] }",
        "policies.p = { action = 'allow', ports = [22], clients = ['*'], from = ['::/0'] }",
        "policies.p = { action = 'allow', ports = ['22/sctp'], from = ['::/0'] }",
        "policies.p = { action = 'allow', ports = [0], from = ['::/0'] }",
        "policies.p = { action = 'allow', ports = ['fd00::1:22'], from = ['::/0'] }",
        "policies.p = { action = 'allow', ports = [22], from = ['office'] }",
        "policies.p = { action = 'allow', ports = [22], from = ['group:'] }",
        "policies.p = { action = 'allow', ports = [22], from = ['10.0.0.0/255.0.0.0'] }",
        "policies.p = { action = 'allow', ports = [22], from = ['::/0'], on_error = 'deny' }",
        "policies.p = { action = 'allow', ports = [22], from = ['::/0'], force = 1 }",
        "groups.g = {}",
        "groups.g = { from = ['*'] }",
        "groups.g = { clients = ['*'] }",
    ] {
        let table: toml::Table = bad.parse().unwrap();
        let json = serde_json::to_value(table).unwrap();
        assert!(!validator.is_valid(&json), "{bad}");
        let folder = std::env::temp_dir().join(format!("kmesh-lite-check-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mesh.toml"), bad).unwrap();
        let loaded = load(&folder.join("mesh.toml"));
        fs::remove_dir_all(&folder).unwrap();
        assert!(loaded.problems.has_errors(), "{bad}");
    }
}

#[test]
fn a_policy_means_what_it_says() {
    let loaded = load(&folder("golden/check/policies-whole").join("mesh.toml"));
    let mesh = loaded.mesh.unwrap();
    let network = |text: &str| Source::Network(text.parse().unwrap());
    let locality = |text: &str| {
        let mut parts = text.split('/').map(str::to_owned);
        Source::Locality(Locality {
            region: parts.next(),
            zone: parts.next(),
            subzone: parts.next(),
        })
    };
    let both = Authorization {
        action: Action::Allow,
        mode: Mode::Enforce,
        services: ["web".parse().unwrap()].into(),
        ports: BTreeSet::new(),
        clients: Some(BTreeSet::from([
            Principal::Cgroup("haproxy.service".into()),
            Principal::User("postgres".to_owned()),
        ])),
        from: Some(
            [
                network("10.1.0.0/16"),
                network("10.2.3.4/32"),
                network("fd00::/8"),
                Source::Service("web".parse().unwrap()),
                locality("eu"),
                locality("us/b/rack-7"),
                locality("us/b"),
            ]
            .into_iter()
            .collect(),
        ),
        on_error: Some(OnError::Closed),
        enforce_existing: true,
        force: true,
    };
    assert_eq!(mesh.policies["both"], both);
    let ports = |address: Option<&str>, protocol, range| LocalPorts {
        address: address.map(|it| it.parse().unwrap()),
        protocol,
        range,
    };
    let of_ports = Authorization {
        action: Action::Deny,
        mode: Mode::Audit,
        services: BTreeSet::new(),
        ports: BTreeSet::from([
            ports(None, Protocol::Tcp, Some((22, 22))),
            ports(None, Protocol::Tcp, Some((8000, 8099))),
            ports(None, Protocol::Udp, Some((53, 53))),
            ports(Some("192.168.1.5"), Protocol::Tcp, Some((5432, 5432))),
            ports(Some("fd00::5"), Protocol::Tcp, Some((443, 443))),
            ports(None, Protocol::Udp, None),
        ]),
        clients: None,
        from: Some([network("0.0.0.0/0")].into_iter().collect()),
        on_error: Some(OnError::Open),
        enforce_existing: false,
        force: false,
    };
    assert_eq!(mesh.policies["ports"], of_ports);
    assert_eq!(mesh.policies.len(), 2);
}

/// The daemon refuses what is beyond the limits, so it is no valid file, also where nobody wrote a limit.
#[test]
fn one_endpoint_more_than_the_default_limit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("mesh.toml");
    for (endpoints, said) in [
        (100_000, None),
        (
            100_001,
            Some("table `endpoints` is too small: the mesh needs 100001 rows, the limit is 100000"),
        ),
    ] {
        let mut text =
            "services.s = { vips = ['10.96.0.1'], ports = [80], endpoints = [".to_owned();
        for n in 0..endpoints {
            let [_, a, b, c] = u32::to_be_bytes(n);
            text.push_str(&format!("'10.{a}.{b}.{c}',"));
        }
        text.push_str("] }\nlimits.backends = 200000\n");
        fs::write(&main, text).unwrap();
        let loaded = load(&main);
        let errors: Vec<_> = loaded.problems.iter().map(|it| &*it.message).collect();
        assert_eq!(errors, Vec::from_iter(said));
        assert_eq!(loaded.mesh.is_some(), said.is_none());
    }
}

/// Files are cut short by full disks and mangled by editors; the reader must say so and go on.
#[test]
fn no_damage_to_a_file_is_too_much() {
    let folder = std::env::temp_dir().join(format!("kmesh-lite-damage-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let main = folder.join("mesh.toml");
    let cases = entries(&self::folder("golden/check"));
    let files = examples()
        .into_iter()
        .chain(cases.iter().map(|case| case.join("mesh.toml")));
    for file in files {
        let whole = fs::read(&file).unwrap();
        for (step, at) in (0..whole.len().min(2000)).step_by(11).enumerate() {
            let mut bytes = whole.clone();
            match step % 3 {
                0 => bytes.truncate(at),
                1 => bytes[at] = b"\"'[]{}=,.#\n\xff0a"[step % 14],
                _ => {
                    bytes.remove(at);
                }
            }
            fs::write(&main, bytes).unwrap();
            let loaded = load(&main);
            let said = render(&loaded.problems, step % 2 == 0);
            assert_eq!(said.is_empty(), loaded.problems.is_empty());
            same_as_data(&loaded);
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}
