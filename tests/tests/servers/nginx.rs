//! nginx as a waypoint of a curl that knows nothing: the files of `examples-config/waypoint-nginx`.

use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::{call, is_no_open_proxy, pages, passes};
use kmesh_lite_tests::proxy::{FOUR, Proxy, SIX, Unit, example, host};
use std::fs;
use std::process::Command;

/// The file, but for folders that belong to the host's own nginx.
fn nginx(host: &Host) -> Proxy {
    let unit = Unit::of_systemd(host, "nginx.service");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let text = fs::read_to_string(example("waypoint-nginx/nginx.conf")).unwrap();
    let text = text
        .replace("/var/log/nginx/waypoint.log", &format!("{path}/log"))
        .replace("/var/log/nginx/", &format!("{path}/"))
        .replace("/run/", &format!("{path}/"));
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file);
    // One process, so that nothing is left of it when it is killed.
    command.args(["-g", "daemon off; master_process off;"]);
    let listens = [
        "127.0.0.1:15008",
        "[::1]:15008",
        "127.0.0.1:15009",
        "[::1]:15009",
    ];
    Proxy::start(unit, folder, &mut command, &listens)
}

#[test]
fn nginx_routes_by_the_original_destination() {
    let program = Program {
        name: "nginx",
        version: &["nginx", "-v"],
    };
    let row = Row::of(program, ["waypoint", "stream, http", "proxy-v2"]);
    let backends = [
        "192.168.1.70",
        "192.168.1.71",
        "192.168.1.75",
        "192.168.1.76",
        "192.168.1.77",
        "fd00:1::72",
        "fd00:1::78",
    ];
    let Some(host) = host(&["nginx", "curl"], &backends) else {
        return;
    };
    pages(&[8080, 8081]);
    let mut proxy = nginx(&host);
    let text = fs::read_to_string(example("waypoint-nginx/mesh.toml")).unwrap();
    let _mesh = host.run(&text);
    // TCP.
    let ledger: &[_] = &["192.168.1.70:8080"];
    let archive: &[_] = &["192.168.1.71:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.70:80", ledger),
        call(None, "[fd00:96::70]:80", ledger),
        call(Some(FOUR), "10.96.0.71:80", archive),
        call(None, "[fd00:96::71]:80", archive),
        call(Some(SIX), "[fd00:96::72]:80", &["[fd00:1::72]:8081"]),
    ];
    passes(&mut proxy, &calls, false);
    // HTTP.
    let shop: &[_] = &["192.168.1.75:8080", "192.168.1.76:8080"];
    let search: &[_] = &["192.168.1.77:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.75:80", shop),
        call(None, "[fd00:96::75]:80", shop),
        call(Some(FOUR), "10.96.0.77:80", search),
        call(None, "[fd00:96::77]:80", search),
        call(Some(SIX), "[fd00:96::78]:80", &["[fd00:1::78]:8081"]),
    ];
    passes(&mut proxy, &calls, true);
    for port in [15008, 15009] {
        is_no_open_proxy(&format!("127.0.0.1:{port}"));
        is_no_open_proxy(&format!("[::1]:{port}"));
    }
    row.passed();
}
