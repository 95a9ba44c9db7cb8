//! The access log: a line for each connection that is over, whatever happens to the daemon and the disk.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::server::installed;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

fn mesh(to: &Path, more: &str) -> String {
    limited(&format!(
        "[access_log]\nto = {to:?}\nrate_limit = 1000000\n{more}\n\
         [services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\nendpoints = [\"127.0.0.2\"]\n\
         [services.empty]\nvips = [\"10.96.0.12\"]\nports = [80]\nendpoints = []\n"
    ))
}

/// A daemon that logs to this file in its folder.
fn logging(name: &str, more: &str) -> Option<(Host, Vec<Echo>, Daemon, PathBuf)> {
    let host = Host::new()?;
    let servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, None);
    let path = daemon.path(name);
    daemon.save(&mesh(&path, more));
    daemon.wait_until("the log is there", |_| path.exists());
    // Answered when the pass is over, and programs tell.
    let _status = daemon.json(&["status"]);
    Some((host, servers, daemon, path))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    text.lines().map(line).collect()
}

/// Connects and is answered.
fn connect(times: usize) {
    for _ in 0..times {
        call("10.96.0.10:80").expect("an answer");
    }
}

/// Is refused before any packet.
fn fail(times: usize) {
    for _ in 0..times {
        assert!(Client::tcp4().connect("10.96.0.12:80").is_err());
    }
}

#[test]
fn there_are_as_many_lines_as_connections_although_the_daemon_is_restarted() {
    let Some((_host, _servers, mut daemon, path)) = logging("access.json", "") else {
        return;
    };
    connect(900);
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    // What ends now waits in the kernel for the next daemon.
    connect(600);
    daemon.start_again(&[]);
    connect(500);
    daemon.wait_until("everything is logged", |_| lines(&path).len() >= 2_000);
    let lines = lines(&path);
    assert_eq!(lines.len(), 2_000);
    let cookies: BTreeSet<_> = lines.iter().map(|line| line["cookie"].as_u64()).collect();
    assert_eq!(cookies.len(), 2_000);
    for line in &lines {
        assert_eq!(line["event"], "closed", "{line}");
        assert_eq!(line["service"], "web", "{line}");
        assert_eq!(line["endpoint"], "127.0.0.2", "{line}");
        assert_eq!(line["original_destination"], "10.96.0.10:80");
        assert_eq!(line["pid"], std::process::id(), "{line}");
        assert_eq!(line["uid"], 0);
        for field in ["time", "started", "client", "command", "cgroup"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        assert!(line["received_bytes"].as_u64() > Some(0), "{line}");
        assert!(line["duration_seconds"].as_f64() >= line["connect_seconds"].as_f64());
    }
}

#[test]
fn a_file_that_was_renamed_is_opened_anew_on_sighup() {
    let Some((_host, _servers, mut daemon, path)) = logging("access.json", "") else {
        return;
    };
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let old = daemon.path("access.json.1");
    fs::rename(&path, &old).unwrap();
    fail(3);
    daemon.wait_until("the old file has lines", |_| lines(&old).len() == 3);
    assert!(!path.exists());
    daemon.signal(Signal::SIGHUP);
    daemon.wait_until("the new file is there", |_| path.exists());
    fail(2);
    daemon.wait_until("the new file has lines", |_| lines(&path).len() == 2);
    assert_eq!(lines(&old).len(), 3);
    let line = &lines(&path)[0];
    assert_eq!(line["outcome"], "refuse_no_endpoint");
    assert_eq!(line["event"], "rejected");
    assert_eq!(line["service"], "empty");
}

/// The example, for a file and a process of the test.
#[test]
fn logrotate_turns_it_over_under_connections_and_no_line_is_lost() {
    if !installed("logrotate") {
        println!("skipped: logrotate is not installed");
        return;
    }
    let Some((_host, _servers, mut daemon, path)) = logging("access.json", "") else {
        return;
    };
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples-config/access-log/logrotate"
    );
    let text = fs::read_to_string(example).expect("the example");
    let process = "$(systemctl show --property=MainPID --value kmesh-lite.service)";
    let text = text
        .replace("/var/log/kmesh-lite/access.json", path.to_str().unwrap())
        .replace("su kmesh kmesh", "su root root")
        .replace(process, &daemon.pid().to_string());
    let example = daemon.path("logrotate.conf");
    fs::write(&example, text).unwrap();
    let state = daemon.path("state");
    let rotate = || {
        let mut logrotate = Command::new("/usr/sbin/logrotate");
        logrotate.arg("--force").arg("--state").arg(&state);
        let output = logrotate.arg(&example).output().expect("logrotate");
        assert!(output.status.success(), "{output:?}");
    };
    fail(100);
    // An empty file is not turned over.
    daemon.wait_until("there are lines", |_| !lines(&path).is_empty());
    rotate();
    fail(100);
    let old = daemon.path("access.json.1");
    daemon.wait_until("every line is somewhere", |_| {
        path.exists() && lines(&old).len() + lines(&path).len() == 200
    });
    // All of them may have been written before the daemon was told.
    fail(1);
    daemon.wait_until("the new file is written to", |_| {
        !lines(&path).is_empty() && lines(&old).len() + lines(&path).len() >= 201
    });
    assert_eq!(lines(&old).len() + lines(&path).len(), 201);
}

#[test]
fn only_services_that_are_named_are_logged() {
    let Some((_host, _servers, mut daemon, path)) =
        logging("access.json", "services = [\"empty\"]")
    else {
        return;
    };
    connect(5);
    fail(1);
    daemon.wait_until("a line is there", |_| !lines(&path).is_empty());
    assert_eq!(lines(&path).len(), 1);
}

#[test]
fn what_the_rate_limit_leaves_out_is_a_line_of_the_log() {
    let Some((_host, _servers, mut daemon, path)) = logging("access.json", "") else {
        return;
    };
    let text = mesh(&path, "").replace("rate_limit = 1000000", "rate_limit = 10");
    daemon.save(&text);
    daemon.wait_until("it counts", |daemon| {
        fail(100);
        daemon.json(&["status"])["events"]["lost"].as_u64() > Some(0)
    });
    daemon.wait_until("the log says so", |_| {
        lines(&path).iter().any(|line| line["event"] == "lost")
    });
    // The same in the metrics.
    let lost = daemon.json(&["status"])["events"]["lost"].clone();
    let mut socket = UnixStream::connect(daemon.path("socket")).expect("the socket");
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    socket.write_all(request).expect("a request");
    let mut metrics = String::new();
    socket.read_to_string(&mut metrics).expect("an answer");
    let expected = format!("kmesh_lite_access_log_lines_total{{result=\"lost\"}} {lost}\n");
    assert!(metrics.contains(&expected), "{expected}{metrics}");
}

/// A file system that is full; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(&at);
        assert!(mount.status().expect("mount").success());
        Self(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Lines of connections, and how many the log says are missing.
fn sums(path: &Path) -> (u64, u64) {
    let lines = lines(path);
    let missing = || lines.iter().filter_map(|line| line["lost"].as_u64());
    ((lines.len() - missing().count()) as u64, missing().sum())
}

#[test]
fn a_full_disk_is_said_once_and_the_log_goes_on_when_there_is_room() {
    let Some((_host, _servers, mut daemon, _)) = logging("access.json", "") else {
        return;
    };
    let small = Small::mount(daemon.path("small"));
    let path = small.0.join("access.json");
    daemon.save(&mesh(&path, ""));
    daemon.wait_until("the log is there", |_| path.exists());
    fail(400);
    let failure = |daemon: &Daemon| daemon.json(&["status"])["events"]["failure"].clone();
    daemon.wait_until("it fails", |daemon| failure(daemon).is_string());
    fail(400);
    let said = |daemon: &Daemon| daemon.log().matches("cannot write the access log").count();
    daemon.wait_until("everything was tried", |daemon| {
        let events = daemon.json(&["status"])["events"].clone();
        let sum = events["written"].as_u64().unwrap() + events["lost"].as_u64().unwrap();
        sum == 800
    });
    assert_eq!(said(&daemon), 1, "{}", daemon.log());
    // Half a line is nowhere, or this would panic.
    let (heard, missing) = sums(&path);
    let room = File::options().write(true).open(&path);
    room.and_then(|file| file.set_len(0)).expect("room");
    daemon.wait_until("it is mended", |daemon| failure(daemon).is_null());
    assert!(daemon.log().contains("the access log is written again"));
    daemon.wait_until("the log says what is missing", |_| {
        heard + missing + sums(&path).1 == 800
    });
    fail(1);
    daemon.wait_until("it goes on", |_| {
        lines(&path).iter().any(|line| line["event"] == "rejected")
    });
}
