//! PostgreSQL and its client, and PgBouncer, which is both.

use crate::front::{BEHIND, DIRECT, Front, SERVER};
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::proxy::{Proxy, Unit, host};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const ROLE: [&str; 3] = ["client, server", "direct, behind HAProxy", "none, proxy-v2"];

/// Neither server runs as root, and each insists on owning its folder.
pub const NOBODY: u32 = 65534;

/// Where Debian keeps the programs of the newest version.
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.flatten().map(|entry| entry.path().join("bin"));
    folders.filter(|bin| bin.join("initdb").exists()).max()
}

fn folder_of_nobody() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    folder
}

/// A program without privileges. It ends with us although it changes its user, and what it shares
/// of memory ends with it.
pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--ipc", "setpriv", "--pdeathsig", "KILL"]);
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(program).current_dir("/");
    command
}

pub fn postgresql(host: &Host, bin: &Path) -> Proxy {
    let folder = folder_of_nobody();
    let data = folder.path().join("data");
    let mut command = as_nobody(&bin.join("initdb"));
    command.args(["--auth=trust", "--username=shop", "--no-sync"]);
    command.args(["--locale=C", "--encoding=UTF8", "--pgdata"]);
    let output = command.arg(&data).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let rules = "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n";
    fs::write(data.join("pg_hba.conf"), rules).unwrap();
    let mut command = as_nobody(&bin.join("postgres"));
    command.arg("-D").arg(&data);
    let listen = format!("listen_addresses={SERVER}");
    for setting in [
        &listen,
        "port=15432",
        "unix_socket_directories=",
        "fsync=off",
        "shared_buffers=8MB",
        "dynamic_shared_memory_type=mmap",
    ] {
        command.args(["-c", setting]);
    }
    let place = Unit::inside(&host.cgroup, "postgresql");
    Proxy::start(place, folder, &mut command, &["192.168.1.70:15432"])
}

/// What the stock client gets for a query.
pub fn ask(bin: &Path, address: &str, port: &str, query: &str) -> String {
    let mut command = Command::new(bin.join("psql"));
    command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet"]);
    command.args(["--set", "ON_ERROR_STOP=1", "--host", address]);
    command.args(["--port", port, "--username", "shop", "--dbname", "postgres"]);
    command.args(["--command", query]);
    command.env("PGCONNECT_TIMEOUT", "20").stdin(Stdio::null());
    let output = ends_with_us(&mut command).output().unwrap();
    assert!(output.status.success(), "{address}: {query}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Logins, a table, and an answer that is not small, from the server that is meant.
fn works(bin: &Path, address: &str, port: &str) {
    let ask = |query: &str| ask(bin, address, port, query);
    let server = ask("SELECT host(inet_server_addr()), inet_server_port()");
    assert_eq!(server, format!("{SERVER}|15432"), "{address}");
    ask("DROP TABLE IF EXISTS orders; CREATE TABLE orders (id int, what text)");
    ask("INSERT INTO orders SELECT id, repeat('x', 100000) FROM generate_series(0, 9) id");
    assert_eq!(ask("SELECT count(*), sum(id) FROM orders"), "10|45");
    let all = ask("SELECT what FROM orders");
    assert_eq!(all.matches('x').count(), 1_000_000, "{address}");
}

/// A host with a server; none where it is missing.
fn running() -> Option<(Host, PathBuf, Proxy)> {
    let host = host(&["haproxy"], &[SERVER])?;
    let bin = programs()?;
    let server = postgresql(&host, &bin);
    Some((host, bin, server))
}

fn no_server() -> bool {
    let missing = programs().is_none();
    if missing {
        require::say("PostgreSQL is not installed");
    }
    missing
}

#[test]
fn psql_reaches_postgresql_and_says_so() {
    let program = Program {
        name: "PostgreSQL, psql",
        version: &["psql", "--version"],
    };
    let row = Row::of(program, ROLE);
    if no_server() {
        return;
    }
    let Some((host, bin, _server)) = running() else {
        return;
    };
    let mut front = Front::start(&host, "5432:15432");
    for vip in [DIRECT, BEHIND].concat() {
        works(&bin, vip, "5432");
        // What libpq takes for its peer.
        let peer = ask(&bin, vip, "5432", r"\conninfo");
        let said = format!("host \"{vip}\"");
        let at = format!("address \"{vip}\"");
        assert!(peer.contains(&said) || peer.contains(&at), "{peer}");
    }
    for vip in BEHIND {
        front.haproxy.logs(&format!("asked={vip}:5432 "));
    }
    row.passed();
}

/// As a client of the virtual addresses, and as a server behind one.
#[test]
fn pgbouncer_pools_connections_to_virtual_addresses() {
    let program = Program {
        name: "PgBouncer",
        version: &["pgbouncer", "--version"],
    };
    let Some(row) = Row::with(&["pgbouncer"], program, ROLE) else {
        return;
    };
    if no_server() {
        return;
    }
    let Some((host, bin, _server)) = running() else {
        return;
    };
    let mut front = Front::start(&host, "5432:15432");
    for vip in [DIRECT, BEHIND].concat() {
        let _pool = pgbouncer(&host, vip);
        works(&bin, "127.0.0.1", "6432");
    }
    for vip in BEHIND {
        front.haproxy.logs(&format!("asked={vip}:5432 "));
    }
    row.passed();
}

fn pgbouncer(host: &Host, database: &str) -> Proxy {
    let folder = folder_of_nobody();
    let file = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\npostgres = host={database} port=5432 user=shop\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 6432\nauth_type = any\n\
         unix_socket_dir =\npool_mode = session\n"
    );
    fs::write(&file, text).unwrap();
    let mut command = as_nobody(Path::new("pgbouncer"));
    command.arg(&file);
    let place = Unit::inside(&host.cgroup, "pgbouncer");
    Proxy::start(place, folder, &mut command, &["127.0.0.1:6432"])
}
