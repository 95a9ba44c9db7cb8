//! Caddy as a waypoint of a curl that knows nothing: the files of `examples-config/waypoint-caddy`,
//! as they are.

use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::{call, is_no_open_proxy, pages, passes_as, who_asks};
use kmesh_lite_tests::proxy::{FOUR, Proxy, SIX, Unit, example, host};
use std::fs;
use std::process::Command;

const CADDY: Program = Program {
    name: "Caddy",
    version: &["caddy", "version"],
};

const BACKENDS: [&str; 5] = [
    "192.168.1.90",
    "192.168.1.91",
    "192.168.1.92",
    "192.168.1.93",
    "fd00:1::92",
];

fn caddy(host: &Host) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    command.arg(example("waypoint-caddy/Caddyfile"));
    // What it keeps of itself.
    command.env("HOME", folder.path());
    command.env_remove("XDG_CONFIG_HOME");
    command.env_remove("XDG_DATA_HOME");
    let unit = Unit::of_systemd(host, "caddy.service");
    let listens = ["127.0.0.1:15008", "[::1]:15008"];
    Proxy::start(unit, folder, &mut command, &listens)
}

#[test]
fn caddy_routes_by_the_original_destination() {
    let role = ["waypoint", "http", "proxy-v2"];
    let Some(row) = Row::with(&["caddy"], CADDY, role) else {
        return;
    };
    let Some(host) = host(&["curl"], &BACKENDS) else {
        return;
    };
    pages(&[8080, 8081]);
    let mut proxy = caddy(&host);
    let text = fs::read_to_string(example("waypoint-caddy/mesh.toml")).unwrap();
    let _mesh = host.run(&text);
    let shop: &[_] = &["192.168.1.90:8080", "192.168.1.91:8080"];
    let search: &[_] = &["192.168.1.92:8081", "192.168.1.93:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.90:80", shop),
        call(None, "10.96.0.90:80", shop),
        call(None, "[fd00:96::90]:80", shop),
        call(Some(FOUR), "10.96.0.91:80", search),
        call(None, "[fd00:96::91]:80", search),
        call(Some(SIX), "[fd00:96::92]:80", &["[fd00:1::92]:8081"]),
    ];
    passes_as(&mut proxy, &calls, who_asks, |client, asked| {
        format!("\"asked\":\"{asked}\",\"client\":\"{client}\"")
    });
    is_no_open_proxy("127.0.0.1:15008");
    is_no_open_proxy("[::1]:15008");
    row.passed();
}
