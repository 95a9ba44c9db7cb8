//! Changes that nobody can have meant, and a daemon that starts after one.

use crate::PROGRAM;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{address, call as reaches};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const VIP: &str = "10.96.0.10:80";
const OTHER: &str = "10.96.0.11:80";

/// A service at a virtual address.
fn service(name: &str, vip: &str) -> String {
    format!(
        "[services.{name}]\nvips = [\"{}\"]\nports = [\"80:8080\"]\nendpoints = [\"127.0.0.2\"]\n",
        vip.trim_end_matches(":80")
    )
}

fn status(daemon: &Daemon) -> Value {
    daemon.json(&["status"])
}

#[test]
fn a_cgroup_is_captured_each_time_it_appears() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let path = host.cgroup.path().join("app");
    let text = limited(&service("web", VIP));
    let mut daemon = Daemon::of_cgroup(PROGRAM, &path, &text);
    for _ in 0..3 {
        let status = status(&daemon);
        assert_eq!(status["state"], "uncaptured");
        assert_eq!(status["datapath"]["absent"][0], path.to_str().unwrap());
        assert!(daemon.verb(&["reload"]).status.success());
        let app = host.cgroup.child("app").unwrap();
        // Nothing else makes a pass: the timer is an hour away.
        daemon.wait_until("it is captured", |it| it.state() == "routing");
        let reached = app.run(|| reaches(VIP)).unwrap();
        assert_eq!(reached, Ok(address("127.0.0.2:8080")));
        drop(app);
        daemon.wait_until("it is missed", |it| it.state() == "uncaptured");
    }
}

#[test]
fn services_stay_until_the_file_says_that_none_is_meant() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let text = limited(&service("web", VIP));
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&text));
    let commented = format!("# {}", text.replace('\n', "\n# "));
    daemon.save(&commented);
    let reload = daemon.verb(&["reload"]);
    assert_eq!(reload.status.code(), Some(3));
    let why = String::from_utf8_lossy(&reload.stderr);
    assert!(
        why.contains("takes every service away") && why.contains("allow_empty"),
        "{why}"
    );
    assert_eq!(daemon.verb(&["plan"]).status.code(), Some(3));
    for _ in 0..2 {
        assert_eq!(daemon.state(), "keeping");
        assert_eq!(reaches(VIP), Ok(address("127.0.0.2:8080")));
        // A restart is no reason to believe it.
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.start_again(&[]);
    }
    daemon.save(&format!("mesh.allow_empty = true\n{commented}"));
    assert!(daemon.verb(&["reload"]).status.success());
    assert_eq!(daemon.state(), "empty");
    assert_eq!(reaches(VIP), Err(Errno::ENETUNREACH));
}

#[test]
fn a_main_file_that_went_is_missed_by_the_next_daemon_too() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let text = limited(&service("web", VIP));
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&text));
    fs::create_dir(daemon.path("mesh.d")).unwrap();
    fs::write(daemon.path("mesh.d/more.toml"), service("more", OTHER)).unwrap();
    daemon.wait_until("the drop-in is applied", |_| reaches(OTHER).is_ok());
    fs::remove_file(daemon.path("mesh.toml")).unwrap();
    daemon.wait_until("the file is missed", |it| it.state() == "keeping");
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    daemon.start_again(&[]);
    assert_eq!(daemon.state(), "keeping");
    for vip in [VIP, OTHER] {
        assert_eq!(reaches(vip), Ok(address("127.0.0.2:8080")));
    }
    // The service was stopped: nothing is known of before, and the drop-in is all there is.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    daemon.forget_everything();
    daemon.start_again(&[]);
    assert_eq!(daemon.state(), "routing");
    assert_eq!(reaches(VIP), Err(Errno::ENETUNREACH));
}

#[test]
fn explain_answers_for_one_program() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let [inside, alone] = ["inside", "alone"].map(|name| host.cgroup.child(name).unwrap());
    let bypass = format!("capture.bypass = [{:?}]\n", alone.path());
    let daemon = Daemon::start(
        PROGRAM,
        &host,
        Some(&limited(&(bypass + &service("web", VIP)))),
    );
    let asked = |cgroup: &Cgroup| {
        let path = cgroup.path().to_str().unwrap();
        let answer = daemon.json(&["explain", VIP, "--cgroup", path]);
        assert_eq!(answer["steps"][0]["fields"]["cgroup"], path);
        let verdict = answer["verdict"].as_str().unwrap().to_owned();
        // Whatever is said, the kernel does it.
        let reached = cgroup.run(|| reaches(VIP)).unwrap();
        assert_eq!(verdict == "redirect", reached.is_ok(), "{answer:#}");
        (verdict, answer["steps"][0]["fields"]["treatment"].clone())
    };
    assert_eq!(asked(&inside), ("redirect".to_owned(), "ordinary".into()));
    assert_eq!(asked(&alone), ("pass".to_owned(), "bypass".into()));
    // This process is above what is captured; some of its threads are not.
    let pid = std::process::id().to_string();
    let answer = daemon.json(&["explain", VIP, "--pid", &pid]);
    assert_eq!(answer["verdict"], "pass");
    assert_eq!(answer["steps"][0]["fields"]["captured"], false);
    // A name without a type is that of a service.
    for unit in ["no-such.service", "no-such"] {
        let nobody = daemon.verb(&["explain", VIP, "--unit", unit]);
        let why = String::from_utf8_lossy(&nobody.stderr);
        assert!(
            !nobody.status.success() && why.contains("no-such.service"),
            "{why}"
        );
    }
}

#[test]
fn a_monitor_is_told_how_bad_it_is() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let path = host.cgroup.path().join("app");
    let text = limited(&service("web", VIP));
    let mut daemon = Daemon::of_cgroup(PROGRAM, &path, &text);
    let monitor = |daemon: &Daemon| daemon.verb(&["status", "--exit-code"]).status.code();
    assert_eq!(monitor(&daemon), Some(2), "nothing is captured");
    let _app = host.cgroup.child("app").unwrap();
    daemon.wait_until("it routes", |it| monitor(it) == Some(0));
    daemon.save("bad");
    daemon.wait_until("it keeps", |it| monitor(it) == Some(1));
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    assert_eq!(monitor(&daemon), Some(2), "nobody runs");
}

#[test]
fn a_service_that_refuses_is_marked() {
    let Some(host) = Host::new() else { return };
    let none = "[services.none]\nvips = [\"10.96.0.12\"]\nports = [80]\nendpoints = []\n";
    let text = limited(&format!("{}{none}", service("web", VIP)));
    let daemon = Daemon::start(PROGRAM, &host, Some(&text));
    assert_eq!(reaches("10.96.0.12:80"), Err(Errno::EHOSTUNREACH));
    let status = status(&daemon);
    let services = status["datapath"]["services"].as_array().unwrap();
    let refuses = |name| services.iter().find(|it| it["name"] == name).unwrap()["refuses"].clone();
    assert_eq!(
        (refuses("none"), refuses("web")),
        (true.into(), false.into())
    );
    let text = daemon.verb(&["status"]).stdout;
    assert_eq!(
        String::from_utf8_lossy(&text).matches("refuses: ").count(),
        1
    );
}

/// The links at a cgroup, by the hook: what bpftool calls it and the link's number.
fn links(cgroup: &Cgroup) -> Vec<(String, String)> {
    let id = fs::metadata(cgroup.folder()).unwrap().ino();
    let output = Command::new("bpftool")
        .args(["-j", "link", "show"])
        .output();
    let all: Vec<Value> = serde_json::from_slice(&output.expect("bpftool").stdout).unwrap();
    let ours = all.iter().filter(|link| link["cgroup_id"] == id);
    ours.map(|link| {
        let hook = link["attach_type"].as_str().unwrap().to_owned();
        (hook, link["id"].to_string())
    })
    .collect()
}

#[test]
fn a_link_that_somebody_detached_is_back_before_status_and_explain_answer() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let daemon = Daemon::start(PROGRAM, &host, Some(&limited(&service("web", VIP))));
    let routed = Ok(address("127.0.0.2:8080"));
    for (verb, all) in [(&["status"][..], false), (&["explain", VIP], true)] {
        assert_eq!(reaches(VIP), routed);
        for (hook, id) in links(&host.cgroup) {
            if all || hook == "cgroup_inet4_connect" {
                let detach = Command::new("bpftool")
                    .args(["link", "detach", "id", &id])
                    .status();
                assert!(detach.expect("bpftool").success());
            }
        }
        assert_eq!(reaches(VIP), Err(Errno::ENETUNREACH));
        assert!(daemon.verb(verb).status.success());
        assert_eq!(reaches(VIP), routed);
        let drift = &status(&daemon)["last_pass"]["drift"];
        assert!(drift.to_string().contains("was detached"), "{drift}");
    }
}

#[test]
fn a_name_of_any_bytes_is_told() {
    let Some(host) = Host::new() else { return };
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&limited(&service("web", VIP))));
    fs::create_dir(daemon.path("mesh.d")).unwrap();
    let name = OsStr::from_bytes(b"30\xff.toml");
    fs::write(daemon.path("mesh.d").join(name), service("more", OTHER)).unwrap();
    daemon.wait_until("the drop-in is applied", |it| {
        status(it)["datapath"]["services"].as_array().unwrap().len() == 2
    });
    let file = status(&daemon)["config"]["files"][1].to_string();
    assert!(file.contains("30\u{fffd}.toml"), "{file}");
}
