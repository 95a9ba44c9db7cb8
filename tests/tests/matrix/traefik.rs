//! Traefik as a waypoint of a curl that knows nothing: the files of
//! `examples-config/waypoint-traefik`.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::{call, curl, nobody, pages, passes_as, who_asks};
use kmesh_lite_tests::proxy::{FOUR, Proxy, SIX, Unit, example, host};
use std::fs;
use std::process::Command;

const TRAEFIK: Program = Program {
    name: "Traefik",
    version: &["traefik", "version"],
};

const BACKENDS: [&str; 4] = [
    "192.168.1.95",
    "192.168.1.96",
    "192.168.1.97",
    "192.168.1.98",
];

const LISTENS: [&str; 3] = ["127.0.0.1:15008", "[::1]:15008", "127.0.0.1:15009"];

/// The files, but for the folder that belongs to the host's own Traefik.
fn traefik(host: &Host) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(example("waypoint-traefik/traefik.yaml")).unwrap();
    let services = example("waypoint-traefik/services.yaml");
    let text = text.replace("/etc/traefik/services.yaml", services.to_str().unwrap());
    let file = folder.path().join("traefik.yaml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("traefik");
    command.arg("--configFile").arg(&file);
    let unit = Unit::of_systemd(host, "traefik.service");
    Proxy::start(unit, folder, &mut command, &LISTENS)
}

#[test]
fn traefik_passes_on_what_its_entry_points_are_for() {
    let role = ["waypoint", "http, tcp", "proxy-v2"];
    let Some(row) = Row::with(&["traefik"], TRAEFIK, role) else {
        return;
    };
    let Some(host) = host(&["curl"], &BACKENDS) else {
        return;
    };
    pages(&[8080, 8081]);
    let mut proxy = traefik(&host);
    let text = fs::read_to_string(example("waypoint-traefik/mesh.toml")).unwrap();
    let mut mesh = host.run(&text);
    // It listens before it knows of the services.
    for address in LISTENS {
        let knows = || {
            curl(&["--fail", &format!("http://{address}/")])
                .status
                .success()
        };
        proxy.wait(address, knows);
    }
    let shop: &[_] = &["192.168.1.95:8080", "192.168.1.96:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.95:80", shop),
        call(None, "10.96.0.95:80", shop),
        call(None, "[fd00:96::95]:80", shop),
        call(Some(SIX), "[fd00:96::96]:80", shop),
    ];
    // It does not say what was asked for, nor does it know.
    passes_as(&mut proxy, &calls, who_asks, |client, _| {
        format!("\"ClientAddr\":\"{client}\"")
    });
    // Of TCP it logs nothing.
    let ledger: &[_] = &["192.168.1.97:8081", "192.168.1.98:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.97:80", ledger),
        call(None, "[fd00:96::97]:80", ledger),
    ];
    passes_as(&mut proxy, &calls, nobody, |_, _| String::new());
    // It would also have taken connections without a header.
    assert_eq!(mesh.outcomes().get(&Outcome::HeaderSent), Some(&6));
    row.passed();
}
