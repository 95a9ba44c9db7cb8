//! Envoy as a waypoint of a curl that knows nothing: the files of `examples-config/waypoint-envoy`,
//! as they are.

use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::{call, is_no_open_proxy, nobody, pages, passes_as, who_asks};
use kmesh_lite_tests::proxy::{FOUR, Proxy, SIX, Unit, example, host};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

const ENVOY: Program = Program {
    name: "Envoy",
    version: &["envoy", "--version"],
};

const BACKENDS: [&str; 7] = [
    "192.168.1.80",
    "192.168.1.81",
    "192.168.1.82",
    "192.168.1.83",
    "192.168.1.84",
    "192.168.1.85",
    "fd00:1::84",
];

fn envoy(host: &Host) -> Proxy {
    let mut command = Command::new("envoy");
    command
        .arg("--config-path")
        .arg(example("waypoint-envoy/envoy.yaml"));
    command.args(["--concurrency", "1", "--log-level", "warning"]);
    // Nothing is shared with another Envoy of the machine, and its log does not keep us waiting.
    command.args(["--disable-hot-restart", "--file-flush-interval-msec", "50"]);
    let unit = Unit::of_systemd(host, "envoy.service");
    let folder = tempfile::tempdir().unwrap();
    let listens = ["127.0.0.1:15008", "[::1]:15008"];
    Proxy::start(unit, folder, &mut command, &listens)
}

/// Who asked for what, and where it went; nothing where an endpoint cannot be foretold.
fn words(cluster: &str, upstream: &str) -> impl Fn(SocketAddr, SocketAddr) -> String {
    move |client, asked| {
        format!("client={client} asked={asked} cluster={cluster} upstream={upstream}")
    }
}

#[test]
fn envoy_routes_by_the_original_destination() {
    let role = ["waypoint", "http, tcp", "proxy-v2"];
    let Some(row) = Row::with(&["envoy"], ENVOY, role) else {
        return;
    };
    let Some(host) = host(&["curl"], &BACKENDS) else {
        return;
    };
    pages(&[8080, 8081]);
    let mut proxy = envoy(&host);
    let text = fs::read_to_string(example("waypoint-envoy/mesh.toml")).unwrap();
    let _mesh = host.run(&text);
    let shop: &[_] = &["192.168.1.80:8080", "192.168.1.81:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.80:80", shop),
        call(None, "[fd00:96::80]:80", shop),
    ];
    let upstream = words("shop", "192.168.1.8");
    passes_as(&mut proxy, &calls, who_asks, &upstream);
    // It does not pass 127.0.0.1 on, but an address of the host.
    let calls = [call(None, "10.96.0.80:80", shop)];
    passes_as(&mut proxy, &calls, |_| FOUR.to_owned(), &upstream);
    let search: &[_] = &["192.168.1.82:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.81:80", search),
        call(None, "[fd00:96::81]:80", search),
    ];
    passes_as(
        &mut proxy,
        &calls,
        who_asks,
        words("search", "10.96.0.81:80 "),
    );
    let ledger: &[_] = &["192.168.1.83:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.82:80", ledger),
        call(None, "[fd00:96::82]:80", ledger),
    ];
    let upstream = words("ledger", "192.168.1.83:8080 ");
    passes_as(&mut proxy, &calls, nobody, upstream);
    let archive: &[_] = &["192.168.1.84:8081", "192.168.1.85:8081"];
    let calls = [call(Some(FOUR), "10.96.0.83:80", archive)];
    passes_as(&mut proxy, &calls, nobody, words("asked", "10.96.0.83:80 "));
    let calls = [call(Some(SIX), "[fd00:96::83]:80", &["[fd00:1::84]:8081"])];
    passes_as(
        &mut proxy,
        &calls,
        nobody,
        words("asked", "[fd00:96::83]:80 "),
    );
    is_no_open_proxy("127.0.0.1:15008");
    is_no_open_proxy("[::1]:15008");
    row.passed();
}
