//! A reload that has to be confirmed.

use crate::PROGRAM;
use kmesh_lite_tests::client::{address, call as reaches};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;

const VIP: &str = "10.96.0.10:80";
const BEFORE: &str = "127.0.0.2:8080";
const TRIED: &str = "127.0.0.3:8080";
const LATER: &str = "127.0.0.4:8080";

/// A service with this endpoint.
fn mesh(endpoint: &str) -> String {
    let address = endpoint.trim_end_matches(":8080");
    limited(&format!(
        "[services.web]\nvips = ['10.96.0.10']\nports = ['80:8080']\nendpoints = ['{address}']\n"
    ))
}

fn trial(daemon: &Daemon) -> Value {
    daemon.json(&["status"])["trial"].clone()
}

fn is_taken_back(daemon: &Daemon) -> bool {
    trial(daemon)["state"] == "taken_back"
}

/// A daemon that had `BEFORE` applied and has `TRIED` on trial.
fn on_trial(host: &Host, time: &str) -> Daemon {
    let daemon = Daemon::supervised(PROGRAM, host, Some(&mesh(BEFORE)));
    daemon.save(&mesh(TRIED));
    let reloaded = daemon.json(&["reload", "--confirm", time]);
    assert_eq!(reloaded["trial"]["state"], "pending", "{reloaded}");
    daemon
}

#[test]
fn what_is_confirmed_in_time_stays() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut daemon = on_trial(&host, "1h");
    assert_eq!(reaches(VIP), Ok(address(TRIED)));
    let status = daemon.verb(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(
        text.contains("on trial: the state before comes back in"),
        "{text}"
    );
    assert!(trial(&daemon)["left_s"].as_u64() > Some(3_000));
    let confirmed = daemon.verb(&["confirm"]);
    let text = String::from_utf8_lossy(&confirmed.stdout);
    assert!(
        confirmed.status.success() && text.starts_with("confirmed, with"),
        "{text}"
    );
    assert_eq!(trial(&daemon), Value::Null);
    assert!(!daemon.path("trial.json").exists());
    let again = daemon.verb(&["confirm"]);
    assert_eq!(again.status.code(), Some(1));
    let why = String::from_utf8_lossy(&again.stderr);
    assert!(why.contains("there is nothing to confirm"), "{why}");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    assert_eq!(trial(&daemon), Value::Null);
    assert_eq!(reaches(VIP), Ok(address(TRIED)));
}

#[test]
fn what_nobody_confirms_is_taken_back_and_the_file_left_alone() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut daemon = on_trial(&host, "1s");
    daemon.wait_until("it is taken back", |daemon| is_taken_back(daemon));
    assert_eq!(reaches(VIP), Ok(address(BEFORE)));
    let status = daemon.json(&["status"]);
    assert_eq!(status["state"], "keeping");
    let verdict = status["verdict"].as_str().unwrap();
    assert!(
        verdict.contains("nobody confirmed it within 1 s"),
        "{verdict}"
    );
    assert!(
        daemon
            .log()
            .contains("nobody confirmed within 1 s what was applied")
    );
    let file = fs::read_to_string(daemon.path("mesh.toml")).unwrap();
    assert_eq!(file, mesh(TRIED));
    let late = daemon.verb(&["confirm"]);
    assert_eq!(late.status.code(), Some(1));
    let why = String::from_utf8_lossy(&late.stderr);
    assert!(why.contains("nobody confirmed it within 1 s"), "{why}");
    // The same text once more is no change, and a restart no reason to believe it.
    daemon.save(&mesh(TRIED));
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    assert!(is_taken_back(&daemon));
    assert_eq!(reaches(VIP), Ok(address(BEFORE)));
    // Nor is another start of the host, after which nothing but the folder is there.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    daemon.forget_everything();
    daemon.start_again(&[]);
    assert!(is_taken_back(&daemon));
    assert_eq!(reaches(VIP), Ok(address(BEFORE)));
    assert!(daemon.verb(&["reload"]).status.success());
    assert_eq!(reaches(VIP), Ok(address(TRIED)));
    assert_eq!(trial(&daemon), Value::Null);
}

#[test]
fn a_daemon_that_is_killed_goes_back_as_well() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut daemon = on_trial(&host, "1h");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    let left = trial(&daemon)["left_s"].as_u64();
    assert!(left > Some(3_000) && left < Some(3_601), "{left:?}");
    assert_eq!(reaches(VIP), Ok(address(TRIED)));
    // More time goes back to where it began; this one ends while there is no daemon, or as it starts.
    assert!(daemon.verb(&["reload", "--confirm", "1s"]).status.success());
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    daemon.wait_until("it is taken back", |daemon| is_taken_back(daemon));
    assert_eq!(reaches(VIP), Ok(address(BEFORE)));
}

#[test]
fn what_is_saved_while_a_trial_is_pending_goes_back_with_it() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut daemon = on_trial(&host, "1h");
    daemon.save(&mesh(LATER));
    daemon.wait_until("it is applied", |_| reaches(VIP) == Ok(address(LATER)));
    assert_eq!(trial(&daemon)["state"], "pending");
    // An error changes nothing of the trial.
    daemon.save("services = 1");
    daemon.wait_until("it is seen", |daemon| daemon.state() == "keeping");
    assert_eq!(
        daemon.verb(&["reload", "--confirm", "1s"]).status.code(),
        Some(3)
    );
    assert!(trial(&daemon)["left_s"].as_u64() > Some(3_000));
    daemon.save(&mesh(LATER));
    assert!(daemon.verb(&["reload", "--confirm", "1s"]).status.success());
    daemon.wait_until("it is taken back", |daemon| is_taken_back(daemon));
    assert_eq!(reaches(VIP), Ok(address(BEFORE)));
    daemon.save(&mesh(TRIED));
    daemon.wait_until("the next one is applied", |_| {
        reaches(VIP) == Ok(address(TRIED))
    });
    assert_eq!(trial(&daemon), Value::Null);
}

#[test]
fn a_trial_has_a_length() {
    let Some(host) = Host::new() else { return };
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh(BEFORE)));
    for time in ["0s", "61m", "soon"] {
        assert_eq!(
            daemon.verb(&["reload", "--confirm", time]).status.code(),
            Some(2),
            "{time}"
        );
    }
    assert_eq!(trial(&daemon), Value::Null);
}
