//! Redis and its client.

use crate::front::{BEHIND, DIRECT, Front, SERVER};
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::proxy::{Proxy, Unit, host};
use kmesh_lite_tests::server::ends_with_us;
use std::fs::{self, File};
use std::process::{Command, Stdio};

const REDIS: Program = Program {
    name: "Redis, redis-cli",
    version: &["redis-server", "--version"],
};

fn redis(host: &Host) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("redis-server");
    command.args(["--bind", SERVER, "--port", "16379", "--save", ""]);
    command.args(["--protected-mode", "no", "--dir"]);
    command.arg(folder.path());
    let place = Unit::inside(&host.cgroup, "redis");
    Proxy::start(place, folder, &mut command, &["192.168.1.70:16379"])
}

/// What the stock client gets for a command.
fn ask(address: &str, arguments: &[&str], input: Stdio) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", address, "-p", "6379", "--raw"]);
    command.args(arguments).stdin(input);
    let output = ends_with_us(&mut command).output().unwrap();
    assert!(output.status.success(), "{address}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn redis_cli_reaches_redis() {
    let role = ["client, server", "direct, behind HAProxy", "none, proxy-v2"];
    let needs = ["redis-server", "redis-cli"];
    let Some(row) = Row::with(&needs, REDIS, role) else {
        return;
    };
    let Some(host) = host(&["haproxy"], &[SERVER]) else {
        return;
    };
    let _redis = redis(&host);
    let mut front = Front::start(&host, "6379:16379");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    let value: String = (0..1_000_000)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    fs::write(&file, &value).unwrap();
    for vip in [DIRECT, BEHIND].concat() {
        let input = File::open(&file).unwrap().into();
        assert_eq!(ask(vip, &["-x", "set", vip], input), "OK");
        assert!(ask(vip, &["get", vip], Stdio::null()) == value, "{vip}");
        // The server's own view of this connection.
        let said = ask(vip, &["client", "info"], Stdio::null());
        assert!(said.contains(&format!("laddr={SERVER}:16379")), "{said}");
    }
    for vip in BEHIND {
        front.haproxy.logs(&format!("asked={vip}:6379 "));
    }
    row.passed();
}
