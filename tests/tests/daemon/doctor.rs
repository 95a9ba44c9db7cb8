//! `doctor` on a real machine must notice each of these.

use crate::PROGRAM;
use kmesh_lite::kernel::kept_for;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::foreign::{Foreign, NAME, Sharing};
use kmesh_lite_tests::host::{Host, Running, limited, mesh};
use kmesh_lite_tests::require;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

/// Checks of things that only systemd knows. It does not run the daemons of these tests.
const OF_SYSTEMD: [&str; 3] = ["unit", "unit_capabilities", "fd_store"];

/// Its report, in JSON.
#[derive(Debug)]
struct Said {
    report: Value,
    code: Option<i32>,
}

impl Said {
    fn of(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout);
        Self {
            report: report.unwrap_or_else(|error| panic!("{error}: {output:?}")),
            code: output.status.code(),
        }
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().expect("checks").iter()
    }

    fn check(&self, name: &str) -> &Value {
        let mut checks = self.checks();
        let found = checks.find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no check {name}: {self:?}"))
    }

    /// Asserts the verdict of a check, and that a check comes with a remedy unless it is fine. Gives
    /// the text of what was found.
    fn expect(&self, name: &str, verdict: &str) -> &str {
        let check = self.check(name);
        assert_eq!(check["verdict"], verdict, "{check:#}");
        assert_eq!(check["todo"].is_null(), verdict == "fine", "{check:#}");
        check["found"].as_str().expect("what was found")
    }

    /// Asserts that some check is a problem, and the exit code says so.
    fn expect_problem(&self, name: &str) -> &str {
        assert_eq!(self.report["verdict"], "problem", "{self:?}");
        assert_eq!(self.code, Some(1));
        self.expect(name, "problem")
    }
}

/// A command that starts the program by way of another one, if there is one.
fn through(command: &[&str], program: impl AsRef<OsStr>) -> Command {
    match command {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut through = Command::new(first);
            through.args(rest).arg(program);
            through
        }
    }
}

/// Runs it about a daemon, started by `command`.
fn ask(daemon: &Daemon, command: &[&str]) -> Said {
    let mut doctor = through(command, PROGRAM);
    doctor.args(["doctor", "--json", "--config"]);
    doctor.arg(daemon.path("mesh.toml"));
    doctor.arg("--socket").arg(daemon.path("socket"));
    Said::of(&doctor.output().expect("doctor"))
}

/// Runs it about a cgroup without a daemon.
fn ask_about(cgroup: &Path) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.toml");
    fs::write(&file, limited(MESH)).expect("a file");
    let mut doctor = Command::new(PROGRAM);
    doctor.args(["doctor", "--json", "--cgroup"]).arg(cgroup);
    doctor.arg("--config").arg(&file);
    doctor.arg("--socket").arg(folder.path().join("socket"));
    Said::of(&doctor.output().expect("doctor"))
}

/// A `systemctl` that says this; gives the PATH with it.
fn systemctl(script: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("systemctl");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a script");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("executable");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("PATH={}:{path}", folder.path().display());
    (folder, path)
}

fn started(host: &Host) -> Daemon {
    let mut daemon = Daemon::supervised(PROGRAM, host, Some(&limited(MESH)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    daemon
}

#[test]
fn doctor_finds_a_daemon_that_routes_fine_and_leaves_it_as_it_is() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    let before = daemon.json(&["dump"]);
    let said = ask(&daemon, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for check in said.checks() {
        let name = check["name"].as_str().expect("a name");
        match name {
            _ if OF_SYSTEMD.contains(&name) => drop(said.expect(name, "unknown")),
            // Before kernel 6.1 they lack something.
            "programs" => assert_ne!(check["verdict"], "problem", "{check:#}"),
            _ => drop(said.expect(name, "fine")),
        }
    }
    let path = host.cgroup.path().to_str().expect("a path");
    assert!(said.expect("links", "fine").contains(path));
    assert!(said.expect("cgroups", "fine").contains(path));
    // In words as well, with the verdict first.
    let text = daemon.verb(&["doctor"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.starts_with("fine") || text.starts_with("1 warning"),
        "{text}"
    );
    assert_eq!(daemon.json(&["dump"]), before);
    let reload = daemon.json(&["reload"]);
    assert_eq!(reload["operations"], 0, "{reload:#}");
    assert_eq!(reload["drift"], Value::Array(Vec::new()), "{reload:#}");
}

#[test]
fn doctor_names_a_missing_capability() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    let said = ask(&daemon, &["setpriv", "--bounding-set=-perfmon"]);
    assert!(said.expect_problem("capabilities").contains("CAP_PERFMON"));
    said.expect("programs", "unknown");
    // The other capabilities are enough for these.
    said.expect("hooks", "fine");
    said.expect("daemon", "fine");
}

#[test]
fn doctor_names_a_user_namespace() {
    let Some(host) = Host::new() else { return };
    let namespace = ["unshare", "--user", "--map-root-user"];
    let made = through(&namespace, "true").output().expect("unshare");
    if !made.status.success() {
        return require::skip("root may not make user namespaces");
    }
    let daemon = started(&host);
    let said = ask(&daemon, &namespace);
    assert!(
        said.expect_problem("capabilities")
            .contains("user namespace")
    );
    let found = said.expect_problem("programs");
    assert!(found.contains("Operation not permitted"), "{found}");
}

#[test]
fn doctor_gives_an_ordinary_user_fewer_answers_and_no_false_alarm() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    let private = Permissions::from_mode(0o700);
    fs::set_permissions(daemon.path(""), private).expect("closed");
    // Where that user can reach it.
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("open");
    let program = folder.path().join("kmesh-lite");
    // By another process: a program that another test starts meanwhile would have it open for writing.
    let copied = Command::new("cp").arg(PROGRAM).arg(&program).status();
    assert!(copied.expect("cp").success());
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let mut doctor = through(&user, &program);
    doctor
        .args(["doctor", "--json", "--cgroup"])
        .arg(host.cgroup.path());
    doctor.arg("--config").arg(daemon.path("mesh.toml"));
    doctor.arg("--socket").arg(daemon.path("socket"));
    let said = Said::of(&doctor.output().expect("doctor"));
    for name in [
        "capabilities",
        "programs",
        "hooks",
        "links",
        "config",
        "socket",
        "daemon",
    ] {
        said.expect(name, "unknown");
    }
    for name in ["kernel", "btf", "grace_period", "loopback", "cgroup_mount"] {
        said.expect(name, "fine");
    }
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn doctor_names_the_program_that_keeps_our_links_away() {
    let Some(host) = Host::new() else { return };
    let below = host.cgroup.child("below").unwrap();
    let attach = || {
        let mut mesh = Running::of(vec![below.path().to_owned()]);
        mesh.try_follow(&self::mesh(MESH)).is_ok()
    };
    for (cgroup, sharing, verdict) in [
        (&host.cgroup, Sharing::Exclusive, "problem"),
        (&below, Sharing::Exclusive, "problem"),
        (&below, Sharing::Override, "problem"),
        (&host.cgroup, Sharing::Override, "warning"),
        (&host.cgroup, Sharing::Multi, "warning"),
        (&below, Sharing::Multi, "warning"),
    ] {
        let foreign = Foreign::attach(cgroup.folder(), sharing).expect("attached");
        let said = ask_about(below.path());
        let found = said.expect("hooks", verdict);
        assert!(found.contains(NAME), "{found}");
        assert!(found.contains(cgroup.path().to_str().unwrap()), "{found}");
        assert_eq!(said.code, Some(i32::from(verdict == "problem")));
        // The kernel is of the same opinion.
        assert_eq!(attach(), verdict == "warning", "{sharing:?}");
        drop(foreign);
    }
    ask_about(below.path()).expect("hooks", "fine");
}

#[test]
fn a_program_that_is_kept_for_sockets_of_an_earlier_version_is_ours() {
    let Some(host) = Host::new() else { return };
    let mut daemon = started(&host);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[("KMESH_LITE_SOCKETS", "7")]);
    ask(&daemon, &[]).expect("hooks", "fine");
}

#[test]
fn doctor_names_a_cgroup_that_is_missing_or_taken() {
    let Some(host) = Host::new() else { return };
    let said = ask_about(Path::new("/no/such.slice"));
    assert!(said.expect("cgroups", "warning").contains("/no/such.slice"));
    let below = host.cgroup.child("below").unwrap();
    let daemon = started(&host);
    let said = ask_about(host.cgroup.path());
    let found = said.expect_problem("cgroups");
    assert!(found.contains(&daemon.pid().to_string()), "{found}");
    // Below it connects would be handled twice.
    let said = ask_about(below.path());
    let found = said.expect_problem("hooks");
    assert!(found.contains("another kmesh-lite"), "{found}");
}

#[test]
fn doctor_notices_a_bad_file() {
    let Some(host) = Host::new() else { return };
    let mut daemon = started(&host);
    let file = daemon.path("mesh.toml");
    let mode = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).expect("a mode");
    mode(0o666);
    let said = ask(&daemon, &[]);
    let found = said.expect("config_permissions", "warning");
    assert!(found.contains("0666"), "{found}");
    assert_eq!(said.code, Some(0));
    mode(0o600);
    // Drop-ins count as well.
    fs::create_dir(daemon.path("mesh.d")).expect("a folder");
    fs::set_permissions(daemon.path("mesh.d"), Permissions::from_mode(0o777)).expect("open");
    ask(&daemon, &[]).expect("config_permissions", "warning");
    fs::set_permissions(daemon.path("mesh.d"), Permissions::from_mode(0o755)).expect("closed");

    daemon.save("[services.web]\nvip = \"10.96.0.10\"\n");
    daemon.wait_until("it has noticed", |daemon| daemon.state() == "keeping");
    let said = ask(&daemon, &[]);
    let found = said.expect_problem("config");
    assert!(found.contains("mesh.toml:1: "), "{found}");
    said.expect("daemon", "warning");

    fs::remove_file(&file).expect("removed");
    let found = ask(&daemon, &[]);
    assert!(found.expect_problem("config").contains("does not exist"));
}

#[test]
fn doctor_notices_links_without_a_daemon() {
    let Some(host) = Host::new() else { return };
    let mut daemon = started(&host);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let cgroup = host.cgroup.path().to_str().expect("a path");
    let said = ask(&daemon, &[]);
    assert!(said.expect_problem("links").contains(cgroup), "{said:?}");
    said.expect("daemon", "warning");
    daemon.forget_everything();
    let said = ask(&daemon, &[]);
    said.expect("links", "fine");
    said.expect("daemon", "warning");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn doctor_notices_a_daemon_that_hangs() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    daemon.signal(Signal::SIGSTOP);
    let said = ask(&daemon, &[]);
    let found = said.expect_problem("socket");
    assert!(found.contains(&daemon.pid().to_string()), "{found}");
    said.expect("daemon", "unknown");
}

#[test]
fn doctor_notices_loopback_that_is_down() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    let said = ask(&daemon, &["unshare", "--net"]);
    said.expect_problem("loopback");
}

#[test]
fn doctor_judges_what_systemd_knows() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    let pid = daemon.pid();
    let kept = daemon
        .supervisor
        .as_ref()
        .expect("a supervisor")
        .names()
        .len();
    let usual = format!(
        "LoadState=loaded ActiveState=active SubState=running MainPID={pid} NRestarts=0 \
         WatchdogUSec=1min LimitMEMLOCK=infinity NFileDescriptorStore={kept} FileDescriptorStoreMax=512 \
         CapabilityBoundingSet='cap_net_admin cap_perfmon cap_bpf cap_sys_ptrace'"
    );
    let said = |changes: &str| {
        let (_folder, path) = systemctl(&format!("printf '%s\\n' {usual} {changes}"));
        ask(&daemon, &["env", &path])
    };
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(daemon.path("mesh.toml"), private).expect("closed");
    let well = said("User=root");
    assert_eq!(well.code, Some(0), "{well:?}");
    for name in OF_SYSTEMD {
        well.expect(name, "fine");
    }
    let other = said("User=nobody AmbientCapabilities='cap_bpf cap_net_admin'");
    let found = other.expect_problem("unit_capabilities");
    assert_eq!(found, "as nobody it lacks CAP_PERFMON");
    let found = other.expect_problem("config_permissions");
    assert!(found.contains("nobody"), "{found}");
    // What is kept beside the maps and the links that are always there, and one less than that.
    let least = kept_for(1) + 1;
    assert!(least <= kept, "{least} of {kept}");
    let small = said(&format!("NFileDescriptorStore={}", least - 1));
    small.expect("fd_store", "warning");
    let none = said("FileDescriptorStoreMax=0");
    none.expect("fd_store", "warning");
    let again = said("NRestarts=2");
    again.expect("unit", "warning");
    // Of another process it says nothing about this one.
    let another = said("MainPID=1");
    another.expect("unit", "unknown");
    // It may hang.
    let (_folder, path) = systemctl("exec sleep 600");
    let silent = ask(&daemon, &["env", &path]);
    let found = silent.expect("unit", "unknown");
    assert!(found.contains("in time"), "{found}");
}

#[test]
fn doctor_wants_another_capability_where_a_server_speaks_first() {
    let Some(host) = Host::new() else { return };
    let mut daemon = started(&host);
    let waypoint = r#"
        [waypoints.mail]
        address = "127.0.1.1:15008"
        header = "proxy-v2"
        server_first = true
    "#;
    daemon.save(&limited(&format!("{MESH}{waypoint}")));
    daemon.wait_until("it has applied it", |daemon| {
        daemon.json(&["status"])["last_reload"]["trigger"] == "file"
    });
    let said = ask(&daemon, &[]);
    assert!(said.expect("server_first", "fine").contains("mail"));
    // A daemon that this user starts would lack the capability.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let said = ask(&daemon, &["setpriv", "--bounding-set=-sys_ptrace"]);
    assert!(said.expect_problem("server_first").contains("mail"));
}

#[test]
fn doctor_looks_at_the_daemons_own_file() {
    let Some(host) = Host::new() else { return };
    let daemon = started(&host);
    let said = Said::of(&daemon.verb(&["doctor", "--json"]));
    let file: PathBuf = daemon.path("mesh.toml");
    let found = said.expect("config", "fine");
    assert!(found.contains(file.to_str().expect("a path")), "{found}");
}
