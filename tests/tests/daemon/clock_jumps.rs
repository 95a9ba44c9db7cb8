//! A clock of day that is set, as by hand or by NTP: nothing that is decided goes by it.

use crate::PROGRAM;
use crate::health::{both, endpoint, mesh, one, reached, state};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::require;
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;

/// What Debian's `faketime` loads into a program, below a folder for the architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let mut files = folders.map(|it| it.path().join("faketime/libfaketime.so.1"));
    files.find(|it| it.exists()).expect("libfaketime")
}

#[test]
fn health_goes_by_no_clock_that_can_be_set() {
    if !require::programs(&["faketime"]) {
        return;
    }
    let Some(host) = Host::new() else { return };
    let near = Echo::tcp("127.0.0.2:8080");
    let _far = Echo::tcp("127.0.0.3:8080");
    let mut daemon = Daemon::supervised_with_agent(PROGRAM, &host, &mesh(""));
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let clock = daemon.path("clock");
    let set = |to: &str| fs::write(&clock, to).expect("a clock");
    set("+0");
    daemon.start_again(&[
        ("LD_PRELOAD", library().to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    let are = |it: &mut Daemon, near: &str| {
        state(it, "127.0.0.2") == near && state(it, "127.0.0.3") == "healthy"
    };
    daemon.wait_until("both are known", |it| are(it, "healthy"));
    set("+400d");
    drop(near);
    daemon.wait_until("it is noticed", |it| are(it, "unhealthy"));
    assert_eq!(reached(), one("127.0.0.3"));
    // Of all clocks, only what people read goes by this one.
    let since = endpoint(&daemon, "127.0.0.2")["health"]["since"].clone();
    let year = |text: &str| text[..4].parse::<i32>().expect("a year");
    let ahead = year(since.as_str().expect("a time"));
    set("-400d");
    let _near = Echo::tcp("127.0.0.2:8080");
    daemon.wait_until("it is noticed", |it| are(it, "healthy"));
    assert_eq!(reached(), both());
    let since = endpoint(&daemon, "127.0.0.2")["health"]["since"].clone();
    assert!(year(since.as_str().expect("a time")) < ahead, "{since}");
    let log = daemon.log();
    let changes = |of: &str| log.matches(of).count();
    assert_eq!(changes("127.0.0.2:8080 is unhealthy"), 1, "{log}");
    assert_eq!(changes("127.0.0.3:8080 is unhealthy"), 0, "{log}");
}
