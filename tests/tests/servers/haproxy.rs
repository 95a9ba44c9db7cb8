//! HAProxy as a waypoint of a curl that knows nothing: the files of
//! `examples-config/waypoint-haproxy`, as they are.

use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::{call, is_no_open_proxy, pages, passes};
use kmesh_lite_tests::proxy::{FOUR, SIX, Unit, example, haproxy, host};
use std::fs;

const BACKENDS: [&str; 6] = [
    "192.168.1.60",
    "192.168.1.61",
    "192.168.1.62",
    "192.168.1.63",
    "192.168.1.65",
    "fd00:1::64",
];

#[test]
fn haproxy_routes_by_the_original_destination() {
    let program = Program {
        name: "HAProxy",
        version: &["haproxy", "-v"],
    };
    let row = Row::of(program, ["waypoint", "http, tcp", "proxy-v2"]);
    let Some(host) = host(&["haproxy", "curl"], &BACKENDS) else {
        return;
    };
    pages(&[8080, 8081, 8082]);
    let unit = Unit::of_systemd(&host, "haproxy.service");
    let file = example("waypoint-haproxy/haproxy.cfg");
    let mut proxy = haproxy(unit, &file, &["127.0.0.1:15008", "[::1]:15008"]);
    let text = fs::read_to_string(example("waypoint-haproxy/mesh.toml")).unwrap();
    let _mesh = host.run(&text);
    let shop: &[_] = &["192.168.1.60:8080", "192.168.1.61:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.60:80", shop),
        call(None, "10.96.0.60:80", shop),
        call(None, "[fd00:96::60]:80", shop),
    ];
    passes(&mut proxy, &calls, true);
    let ledger: &[_] = &["192.168.1.62:8081", "192.168.1.63:8081"];
    let archive: &[_] = &["[fd00:1::64]:8082"];
    let calls = [
        call(Some(FOUR), "10.96.0.61:80", ledger),
        call(None, "[fd00:96::61]:80", ledger),
        call(Some(SIX), "[fd00:96::62]:80", archive),
    ];
    passes(&mut proxy, &calls, false);
    is_no_open_proxy("127.0.0.1:15008");
    is_no_open_proxy("[::1]:15008");
    row.passed();
}
