//! The control socket of a real daemon: who can take what of it, and what becomes of its files.

use crate::PROGRAM;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::server::ends_with_us;
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

const WEB: &str =
    "[services.web]\nvips = [\"10.96.0.10\"]\nports = [80]\nendpoints = [\"127.0.0.2\"]\n";

/// A user that the socket's group has, and that is nobody else here.
const READER: u32 = 54_321;

fn start(host: &Host, text: &str) -> Daemon {
    let daemon = Daemon::start(PROGRAM, host, Some(text));
    let folder = daemon.path("socket");
    let folder = folder.parent().unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    daemon
}

/// Does something as a user of the socket's group, which is root's here.
fn as_reader<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: the call takes numbers only, and without glibc's help it is about this thread.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, READER, READER, READER) };
            assert_eq!(result, 0);
            act()
        });
        thread.join().unwrap()
    })
}

/// Connections of a reader with this request each. A daemon that has enough of them may have closed
/// some already.
fn ask(daemon: &Daemon, number: usize, request: &str) -> Vec<UnixStream> {
    let socket = daemon.path("socket");
    as_reader(|| {
        let ask = |_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let _ = stream.write_all(request.as_bytes());
            stream
        };
        (0..number).map(ask).collect()
    })
}

#[test]
fn readers_keep_neither_root_nor_other_readers_out() {
    let Some(host) = Host::new() else { return };
    let daemon = start(&host, WEB);
    let head = ask(&daemon, 40, "GET /v1/status HTTP/1.1\r\nHost:");
    let body = "POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    let body = ask(&daemon, 40, body);
    for arguments in [&["status"][..], &["plan"], &["dump"], &["reload"]] {
        let output = daemon.verb(arguments);
        assert!(output.status.success(), "{arguments:?} {output:?}");
    }
    // One more of them is told so at once.
    let mut stream = ask(&daemon, 1, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").remove(0);
    let mut answer = String::new();
    if stream.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
        assert!(answer.contains("503"), "{answer}");
    }
    drop((head, body));
}

/// Kilobytes for a dump and two statuses of readers, and a status of root.
const BOUND: u64 = 24 * 1024;

/// Kilobytes, by the name that /proc has for them.
fn memory(daemon: &Daemon, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn answers_that_nobody_reads_take_no_memory() {
    let Some(host) = Host::new() else { return };
    let (services, each) = (100, 100);
    let mut text = String::new();
    for service in 0..services {
        let endpoints: Vec<_> = (1..=each)
            .map(|endpoint| format!("\"10.1.{service}.{endpoint}\""))
            .collect();
        let endpoints = endpoints.join(", ");
        writeln!(
            text,
            "[services.s{service}]\nvips = [\"10.96.1.{service}\"]\nports = [80]\nendpoints = [{endpoints}]"
        )
        .unwrap();
    }
    text.push_str("[limits]\naddresses = 1000\nfrontends = 1000\nservices = 1000\n");
    text.push_str("endpoints = 20000\nbackends = 20000\nwaypoints = 16\n");
    let daemon = start(&host, &text);
    let dump = daemon.verb(&["dump", "--json"]).stdout;
    let dump: serde_json::Value = serde_json::from_slice(&dump).unwrap();
    let rows = |name: &str| {
        let tables = dump["tables"].as_array().unwrap();
        let table = tables.iter().find(|table| table["name"] == name);
        table.unwrap()["rows"].as_array().unwrap().len()
    };
    assert_eq!(
        (rows("services"), rows("endpoints")),
        (services, services * each)
    );
    let shown = String::from_utf8(daemon.verb(&["dump"]).stdout).unwrap();
    assert!(shown.contains("endpoints rows 1001 to 2000"), "{shown}");

    // The log has the first lines of what was applied.
    let log = daemon.log();
    assert!(log.contains("service s1: added"), "{log}");
    assert!(!log.contains("service s99: added"), "{log}");

    // What one answer takes, which root's own may.
    assert!(daemon.verb(&["status", "--json"]).status.success());
    fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5").unwrap();
    let before = memory(&daemon, "VmRSS:");
    let mut unread = Vec::new();
    for _ in 0..5 {
        for what in ["dump", "status"] {
            let request = format!("GET /v1/{what} HTTP/1.1\r\nHost: x\r\n\r\n");
            unread.extend(ask(&daemon, 33, &request));
            // It has been dealt with all that came before.
            assert!(daemon.verb(&["status"]).status.success());
        }
    }
    let most = memory(&daemon, "VmHWM:");
    assert!(most < before + BOUND, "{before} kB became {most} kB");
}

#[test]
fn a_client_that_has_said_all_is_answered() {
    let Some(host) = Host::new() else { return };
    let daemon = start(&host, WEB);
    let mut stream = UnixStream::connect(daemon.path("socket")).unwrap();
    stream
        .write_all(b"GET /v1/status HTTP/1.0\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"state\":\"routing\""), "{answer}");
}

#[test]
fn the_kernel_answers_for_a_daemon_that_hangs() {
    let Some(host) = Host::new() else { return };
    let daemon = start(&host, WEB);
    daemon.signal(Signal::SIGSTOP);
    let silent = format!("process {} does not answer", daemon.pid());
    for arguments in [&["status"][..], &["dump"], &["explain", "10.96.0.10:80"]] {
        let output = daemon.verb(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&silent), "{arguments:?} {said}");
        assert!(shown.contains("10.96.0.10"), "{arguments:?} {shown}");
    }
    let output = daemon.verb(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&silent), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn files_that_somebody_removes_are_made_anew() {
    let Some(host) = Host::new() else { return };
    let mut daemon = start(&host, WEB);
    fs::remove_file(daemon.path("socket")).unwrap();
    fs::remove_file(daemon.path("socket.lock")).unwrap();
    let routing = |daemon: &mut Daemon| {
        daemon.path("socket.lock").exists() && daemon.verb(&["status"]).status.success()
    };
    daemon.wait_until("it answers again", routing);
    let log = daemon.log();
    assert!(log.contains("it has been made anew"), "{log}");
}

/// A small file system on a folder, until it is dropped.
struct Full<'a>(&'a Path);

impl<'a> Full<'a> {
    fn new(folder: &'a Path) -> Self {
        let full = Self(folder);
        // One inode, which its root is.
        full.mount("nr_inodes=1");
        full
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "kmesh-lite-test"]);
        assert!(mount.arg(self.0).status().unwrap().success());
    }
}

impl Drop for Full<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_daemon_without_room_for_its_files_starts_and_makes_them_later() {
    let Some(host) = Host::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("mesh.toml");
    fs::write(&config, WEB).unwrap();
    let place = folder.path().join("run");
    fs::create_dir(&place).unwrap();
    let full = Full::new(&place);
    let socket = place.join("deep/control.sock");
    let log = folder.path().join("log");
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--no-agent", "--cgroup"])
        .arg(host.cgroup.path());
    command
        .arg("--config")
        .arg(&config)
        .arg("--socket")
        .arg(&socket);
    command
        .stdin(Stdio::null())
        .stderr(File::create(&log).unwrap());
    let mut process = ends_with_us(&mut command).spawn().unwrap();
    let mut until = |what: &str, holds: &dyn Fn(&str) -> bool| loop {
        let said = fs::read_to_string(&log).unwrap();
        if holds(&said) {
            break;
        }
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "it ended before {what}: {said}");
        thread::yield_now();
    };
    until("it is applied", &|said| said.contains("applied"));
    until("it says so", &|said| {
        said.contains("there is no control socket")
    });
    full.mount("remount,nr_inodes=100");
    until("it answers", &|_| {
        let mut status = Command::new(PROGRAM);
        status.arg("status").arg("--socket").arg(&socket);
        status.output().unwrap().status.success()
    });
    process.kill().unwrap();
    process.wait().unwrap();
}
