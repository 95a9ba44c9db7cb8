//! MariaDB behind a waypoint, and as one: its clients wait for its greeting.

use crate::PROGRAM;
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::proxy::{Proxy, Unit, forwarder, haproxy, host};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the server is, and from where HAProxy connects to it.
const SERVER: &str = "192.168.1.66";
const PROXY: &str = "192.168.1.67";

const MARIADB: Program = Program {
    name: "MariaDB",
    version: &["mariadbd", "--version"],
};

/// Files of a server that takes logins over TCP, in a folder.
fn install(folder: &Path) {
    let mut command = Command::new("mariadb-install-db");
    command.env("TMPDIR", folder);
    command.args(["--no-defaults", "--user=root", "--skip-test-db"]);
    command.arg("--auth-root-authentication-method=normal");
    command.arg(format!("--datadir={}", folder.join("data").display()));
    let output = ends_with_us(command.stdin(Stdio::null())).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let users = "CREATE USER shop@'%' IDENTIFIED BY 'secret';\nCREATE DATABASE shop;\n\
                 GRANT ALL ON shop.* TO shop@'%';\n";
    fs::write(folder.join("users.sql"), users).unwrap();
}

/// A server of its own. It believes PROXY headers of the networks.
fn mariadb(host: &Host, networks: &str) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path());
    let path = folder.path().display();
    let mut command = Command::new("mariadbd");
    command.env("TMPDIR", folder.path());
    command.args(["--no-defaults", "--user=root", "--port=3306"]);
    command.arg(format!("--bind-address={SERVER}"));
    command.arg(format!("--datadir={path}/data"));
    command.arg(format!("--socket={path}/socket"));
    command.arg(format!("--pid-file={path}/pid"));
    command.arg(format!("--init-file={path}/users.sql"));
    command.arg(format!("--proxy-protocol-networks={networks}"));
    command.args(["--skip-name-resolve", "--innodb-buffer-pool-size=8M"]);
    let place = Unit::inside(&host.cgroup, "mariadb");
    Proxy::start(place, folder, &mut command, &["192.168.1.66:3306"])
}

/// A service whose waypoint is told before the server speaks.
fn mesh(address: &str, header: &str, unit: Option<&Path>) -> String {
    let unit = unit.map_or_else(String::new, |path| format!("unit = {path:?}"));
    format!(
        r#"
        [waypoints.edge]
        address = "{address}"
        header = "{header}"
        server_first = true
        {unit}

        [services.database]
        vips = ["10.96.0.66"]
        ports = [3306]
        waypoint = "edge"
        endpoints = ["{SERVER}"]
        "#
    )
}

/// What the stock client gets for a query.
fn ask(query: &str) -> String {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "--host=10.96.0.66"]);
    command.args(["--user=shop", "--password=secret", "--connect-timeout=20"]);
    command.args(["--batch", "--skip-column-names", "--execute", query, "shop"]);
    let output = ends_with_us(command.stdin(Stdio::null())).output().unwrap();
    assert!(output.status.success(), "{query}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Several logins, a table, and an answer that is not small.
fn works() {
    ask("CREATE OR REPLACE TABLE orders (id INT PRIMARY KEY, what MEDIUMTEXT)");
    for id in 0..10 {
        ask(&format!(
            "INSERT INTO orders VALUES ({id}, REPEAT('x', 100000))"
        ));
    }
    assert_eq!(ask("SELECT COUNT(*), SUM(id) FROM orders"), "10\t45\n");
    let all = ask("SELECT what FROM orders");
    assert_eq!(all.matches('x').count(), 1_000_000);
}

/// A host with a server; none where a program is missing.
fn running(programs: &[&str], networks: &str) -> Option<(Host, Proxy)> {
    let host = host(programs, &[SERVER, PROXY])?;
    if !require::servers(&["mariadbd", "mariadb-install-db", "mariadb"]) {
        return None;
    }
    let server = mariadb(&host, networks);
    Some((host, server))
}

#[test]
fn haproxy_passes_mariadb_on_and_tells_it_who_asks() {
    let mode = "server first, behind HAProxy";
    let row = Row::of(MARIADB, ["client, server", mode, "proxy-v2"]);
    let Some((host, _server)) = running(&["haproxy"], PROXY) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("haproxy.cfg");
    let text = format!(
        "global\n    log stdout format raw daemon\n\
         defaults\n    log global\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n\
         frontend waypoint\n    bind 127.0.0.1:15008 accept-proxy\n    \
         log-format \"asked=%[dst]:%[dst_port]\"\n    default_backend database\n\
         backend database\n    source {PROXY}\n    server one {SERVER}:3306 send-proxy-v2\n"
    );
    fs::write(&file, text).unwrap();
    let unit = Unit::inside(&host.cgroup, "haproxy");
    let path = host.cgroup.path().join("haproxy");
    let mut proxy = haproxy(unit, &file, &["127.0.0.1:15008"]);
    let _mesh = host.run_as_daemon(&mesh("127.0.0.1:15008", "proxy-v2", Some(&path)));
    works();
    // The client's own address, out of our header and through HAProxy's.
    assert_eq!(ask("SELECT USER()"), "shop@127.0.0.1\n");
    proxy.logs("asked=10.96.0.66:3306");
    row.passed();
}

#[test]
fn our_forwarder_passes_mariadb_on() {
    let mode = "server first, behind kmesh-lite";
    let row = Row::of(MARIADB, ["client, server", mode, "tlv, proxy-v2"]);
    let Some((host, _server)) = running(&[], "") else {
        return;
    };
    for header in ["tlv", "proxy-v2"] {
        let unit = host.cgroup.child("forwarder").unwrap();
        let options = ["--accept", header, "--allow", "10.96.0.66"];
        let _forwarder = forwarder(PROGRAM, &unit, "worker", "127.0.0.1:15008", &options);
        let _mesh = host.run_as_daemon(&mesh("127.0.0.1:15008", header, Some(unit.path())));
        works();
    }
    row.passed();
}

/// It reads the header itself: no proxy in between.
#[test]
fn mariadb_may_be_the_waypoint_itself() {
    let row = Row::of(MARIADB, ["server, waypoint", "server first", "proxy-v2"]);
    let Some((host, _server)) = running(&[], "*") else {
        return;
    };
    let mut mesh = host.run_as_daemon(&mesh("192.168.1.66:3306", "proxy-v2", None));
    works();
    assert_eq!(ask("SELECT USER()"), format!("shop@{SERVER}\n"));
    // It would also have taken connections without a header.
    let outcomes = mesh.outcomes();
    let sent = outcomes[&Outcome::HeaderSent];
    assert_eq!(sent, outcomes[&Outcome::ServiceWaypoint]);
    row.passed();
}
