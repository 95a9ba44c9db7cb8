//! The daemon on the real kernel: what it does with its file, its signals and its socket.

use crate::PROGRAM;
use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::maps::{Maps, frontend_key};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// A service `web` behind 10.96.0.10:80, served by one endpoint.
fn web(endpoint: &str) -> String {
    limited(&format!(
        "[services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\nendpoints = [\"{endpoint}\"]\n"
    ))
}

fn lands(endpoint: &str) -> bool {
    call("10.96.0.10:80") == Ok(address(&format!("{endpoint}:8080")))
}

/// A host with servers everywhere and a daemon.
fn start(text: Option<&str>) -> Option<(Host, Vec<Echo>, Daemon)> {
    let host = Host::new()?;
    let servers = Echo::everywhere(&[8080]);
    let daemon = Daemon::start(PROGRAM, &host, text);
    Some((host, servers, daemon))
}

#[test]
fn the_kernel_follows_a_file_that_is_saved_in_any_way() {
    let Some((_host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    assert!(lands("127.0.0.2"));
    daemon.save(&web("127.0.0.3"));
    daemon.wait_until("a renamed file counts", |_| lands("127.0.0.3"));
    fs::write(daemon.path("mesh.toml"), web("127.0.0.4")).unwrap();
    daemon.wait_until("a file written in place counts", |_| lands("127.0.0.4"));

    // The way Kubernetes mounts files: a link to a link to a folder that is swapped.
    for (folder, endpoint) in [("one", "127.0.0.5"), ("two", "127.0.0.6")] {
        fs::create_dir(daemon.path(folder)).unwrap();
        fs::write(daemon.path(folder).join("mesh.toml"), web(endpoint)).unwrap();
    }
    symlink("one", daemon.path("..data")).unwrap();
    symlink("..data/mesh.toml", daemon.path("link")).unwrap();
    fs::rename(daemon.path("link"), daemon.path("mesh.toml")).unwrap();
    daemon.wait_until("a link counts", |_| lands("127.0.0.5"));
    symlink("two", daemon.path("..tmp")).unwrap();
    fs::rename(daemon.path("..tmp"), daemon.path("..data")).unwrap();
    daemon.wait_until("a swapped folder counts", |_| lands("127.0.0.6"));
}

#[test]
fn drop_ins_come_and_go() {
    let Some((_host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    fs::create_dir(daemon.path("mesh.d")).unwrap();
    let more =
        "[services.more]\nvips = [\"10.96.0.11\"]\nports = [8080]\nendpoints = [\"127.0.0.9\"]\n";
    fs::write(daemon.path("mesh.d/more.toml"), more).unwrap();
    let there = || call("10.96.0.11:8080") == Ok(address("127.0.0.9:8080"));
    daemon.wait_until("the drop-in counts", |_| there());
    fs::remove_file(daemon.path("mesh.d/more.toml")).unwrap();
    daemon.wait_until("it is gone", |daemon| {
        daemon.json(&["status"])["datapath"]["services"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    assert!(lands("127.0.0.2"));
}

#[test]
fn a_daemon_without_a_file_waits_for_one() {
    let Some((_host, _servers, mut daemon)) = start(None) else {
        return;
    };
    assert_eq!(daemon.state(), "waiting");
    daemon.save(&web("127.0.0.2"));
    daemon.wait_until("the file counts", |_| lands("127.0.0.2"));
    assert_eq!(daemon.state(), "routing");
}

#[test]
fn a_bad_or_missing_file_keeps_the_last_good_state() {
    let Some((_host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    daemon.save(&web("127.0.0.3").replace("endpoints", "endpionts"));
    daemon.wait_until("status says so", |daemon| daemon.state() == "keeping");
    assert!(lands("127.0.0.2"));
    let reload = daemon.verb(&["reload"]);
    assert_eq!(reload.status.code(), Some(3));
    let said = String::from_utf8(reload.stderr).unwrap();
    assert!(
        said.contains("endpionts") && said.contains("did you mean"),
        "{said}"
    );
    assert!(daemon.log().contains("endpionts"));

    daemon.save(&web("127.0.0.4"));
    daemon.wait_until("the mended file counts", |_| lands("127.0.0.4"));
    assert_eq!(daemon.state(), "routing");

    fs::remove_file(daemon.path("mesh.toml")).unwrap();
    daemon.wait_until("status says so", |daemon| daemon.state() == "keeping");
    assert!(lands("127.0.0.4"));
}

#[test]
fn a_main_file_that_goes_does_not_leave_its_drop_ins_in_charge() {
    let Some((_host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    fs::create_dir(daemon.path("mesh.d")).unwrap();
    let more =
        "[services.more]\nvips = [\"10.96.0.11\"]\nports = [8080]\nendpoints = [\"127.0.0.9\"]\n";
    fs::write(daemon.path("mesh.d/more.toml"), more).unwrap();
    daemon.wait_until("the drop-in counts", |_| call("10.96.0.11:8080").is_ok());
    fs::remove_file(daemon.path("mesh.toml")).unwrap();
    daemon.wait_until("status says so", |daemon| daemon.state() == "keeping");
    assert!(lands("127.0.0.2"));
}

#[test]
fn after_a_burst_of_writes_the_last_one_counts() {
    let Some((_host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    for number in 0..1000 {
        let endpoint = format!("127.0.1.{}", number % 200 + 1);
        fs::write(daemon.path("mesh.toml"), web(&endpoint)).unwrap();
    }
    daemon.save(&web("127.0.0.9"));
    daemon.wait_until("the last one counts", |_| lands("127.0.0.9"));
    // Nothing is left to do: no earlier one comes after it.
    assert_eq!(daemon.verb(&["plan", "--exit-code"]).status.code(), Some(0));
    assert!(lands("127.0.0.9"));
}

#[test]
fn sighup_repairs_what_somebody_else_did_and_says_what() {
    let Some((host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    assert!(lands("127.0.0.2"));
    Maps::of(&host).touch("delete", "FRONTEND_IDS", &frontend_key(10), None);
    assert!(!lands("127.0.0.2"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_until("the log names it", |daemon| {
        daemon
            .log()
            .contains("drift: frontend #1 10.96.0.10:80/tcp is missing")
    });
    daemon.wait_until("it is repaired", |_| lands("127.0.0.2"));
}

#[test]
fn a_second_daemon_is_told_who_the_first_is() {
    let Some((host, _servers, daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    for socket in ["socket", "another"] {
        let mut second = Command::new(PROGRAM);
        second
            .args(["run", "--config"])
            .arg(daemon.path("mesh.toml"));
        second.arg("--cgroup").arg(host.cgroup.path());
        let output = second
            .arg("--socket")
            .arg(daemon.path(socket))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&daemon.pid().to_string()), "{said}");
    }
    assert!(lands("127.0.0.2"));
}

#[test]
fn a_daemon_leaves_nothing_behind_however_it_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let Some((host, _servers, mut daemon)) = start(Some(&web("127.0.0.2"))) else {
            return;
        };
        assert!(lands("127.0.0.2"));
        daemon.signal(signal);
        let ended = daemon.wait();
        if signal == Signal::SIGKILL {
            assert_eq!(ended.signal(), Some(signal as i32));
        } else {
            assert_eq!(ended.code(), Some(0));
            assert!(!daemon.path("socket").exists());
        }
        let shown = Command::new("bpftool")
            .args(["cgroup", "show"])
            .arg(host.cgroup.folder())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(shown.stdout).unwrap().trim(),
            "",
            "after {signal}"
        );
        // Nobody has a route to the virtual address any more.
        assert_ne!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    }
}

#[test]
fn a_daemon_without_capabilities_names_them() {
    let Some(host) = Host::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        PROGRAM,
        "run",
        "--config",
    ]);
    command
        .arg(folder.path().join("mesh.toml"))
        .arg("--cgroup")
        .arg(host.cgroup.path());
    let output = command
        .arg("--socket")
        .arg(folder.path().join("socket"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"),
        "{said}"
    );
}

#[test]
fn reading_verbs_agree_with_the_kernel() {
    let Some((_host, _servers, daemon)) = start(Some(&web("127.0.0.2"))) else {
        return;
    };
    for _ in 0..5 {
        assert!(lands("127.0.0.2"));
    }
    assert_eq!(call("10.96.0.10:81"), Err(Errno::ECONNREFUSED));
    let status = daemon.json(&["status"]);
    assert_eq!(status["datapath"]["services"][0]["connects"], 5);
    let outcome = |name: &str| {
        let outcomes = status["datapath"]["outcomes"].as_array().unwrap();
        outcomes
            .iter()
            .find(|outcome| outcome["name"] == name)
            .unwrap()["count"]
            .as_u64()
    };
    assert_eq!(
        (outcome("endpoint"), outcome("refuse_undeclared_port")),
        (Some(5), Some(1))
    );

    let explained = daemon.json(&["explain", "10.96.0.10:80"]);
    assert_eq!(explained["verdict"], "redirect");
    assert_eq!(explained["candidates"][0]["endpoint"], "127.0.0.2:8080");
    assert_eq!(
        daemon.json(&["explain", "10.96.0.10:81"])["outcome"],
        "refuse_undeclared_port"
    );
    assert_eq!(daemon.json(&["explain", "192.0.2.1:80"])["verdict"], "pass");

    assert_eq!(daemon.verb(&["plan", "--exit-code"]).status.code(), Some(0));
    fs::write(daemon.path("other.toml"), web("127.0.0.3")).unwrap();
    let other = daemon.path("other.toml");
    let other = other.to_str().unwrap();
    assert_eq!(
        daemon.verb(&["plan", "--exit-code", other]).status.code(),
        Some(4)
    );
    let plan = daemon.json(&["plan", other]);
    assert!(plan["summary"].to_string().contains("127.0.0.3"), "{plan}");
    assert!(lands("127.0.0.2"), "a plan changes nothing");

    let socket = daemon.path("socket");
    let curl = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(socket)
        .arg("http://localhost/v1/dump")
        .output();
    let dump: serde_json::Value = serde_json::from_slice(&curl.unwrap().stdout).unwrap();
    assert_eq!(dump, daemon.json(&["dump"]));
}

/// What the script of a shell asks when somebody presses the tabulator key.
#[test]
fn a_shell_gets_its_completions() {
    for (words, known) in [
        (&["kmesh-lite", "sta"][..], "status"),
        (&["kmesh-lite", "check", "--wi"], "--with"),
    ] {
        let output = Command::new(PROGRAM)
            .env("KMESH_LITE_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .arg("--")
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(known), "{output:?}");
    }
}
