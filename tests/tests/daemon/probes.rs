//! The agent as a prober: a real process, a daemon that is played, and real sockets.

use crate::PROGRAM;
use kmesh_lite_tests::foreman::Foreman;
use kmesh_lite_tests::netns::NetNs;
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{Write, stderr};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An agent, and the daemon that it follows.
struct Site {
    agent: Child,
    foreman: Foreman,
    folder: TempDir,
}

impl Site {
    fn begin(duties: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let foreman = Foreman::listen(&folder.path().join("socket"), duties);
        let agent = agent(folder.path());
        Self {
            agent,
            foreman,
            folder,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Longer than other tests do, and without taking the processor that it waits for.
    fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(120);
        while !holds() {
            assert!(Instant::now() < until, "never: {what}\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn of_proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.agent.id())).unwrap_or_default()
    }

    /// A number of kilobytes out of `status`.
    fn kilobytes(&self, name: &str) -> u64 {
        let status = self.of_proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.and_then(|it| it.parse().ok()).unwrap_or_default()
    }

    /// Hundredths of a second of processor time, of the program and of the kernel for it.
    fn ticks(&self) -> (u64, u64) {
        let stat = self.of_proc("stat");
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let field = |place: usize| {
            let value = fields.split(' ').nth(place);
            value.and_then(|it| it.parse().ok()).unwrap_or_default()
        };
        (field(11), field(12))
    }

    fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.agent.id());
        fs::read_dir(folder).map_or(0, Iterator::count)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn agent(folder: &Path) -> Child {
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["agent", "--socket"])
        .arg(folder.join("socket"));
    ends_with_us(command.stderr(log)).spawn().unwrap()
}

fn check(probe: &Value) -> Value {
    json!({
        "probe": probe, "interval": 10_000, "fast_interval": 100, "timeout": 1_000, "jitter": 10,
        "rise": 2, "fall": 2,
    })
}

fn tcp() -> Value {
    check(&json!({"kind": "tcp"}))
}

fn duties(revision: u64, checks: &[Value], targets: &[SocketAddr]) -> Value {
    let targets = targets.iter().map(|at| json!({"address": at, "check": 0}));
    let targets: Vec<_> = targets.collect();
    json!({"revision": revision, "metrics": [], "checks": checks, "targets": targets})
}

/// (revision, target, healthy, reason)
fn told(foreman: &Foreman) -> Vec<(u64, u64, bool, String)> {
    let tuple = |(revision, finding): (u64, Value)| {
        let reason = finding["reason"].as_str().unwrap().to_owned();
        let target = finding["target"].as_u64().unwrap();
        (revision, target, finding["healthy"] == true, reason)
    };
    foreman.findings().into_iter().map(tuple).collect()
}

/// 10,000 addresses of 127.0.0.0/8, or of another network.
fn many(network: u8, port: u16) -> Vec<SocketAddr> {
    let address = |number: u32| {
        let bits = u32::from(network) << 24 | (number / 200 + 1) << 8 | (number % 200 + 1);
        SocketAddr::new(Ipv4Addr::from_bits(bits).into(), port)
    };
    (0..10_000).map(address).collect()
}

#[test]
fn what_lives_and_dies_is_told_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut check = tcp();
    check["interval"] = json!(200);
    let site = Site::begin(duties(7, &[check.clone()], &[at, closed]));
    site.wait("both are known", || site.foreman.count() == 2);
    let mut first = told(&site.foreman);
    first.sort();
    assert_eq!(first[0], (7, 0, true, "connected".to_owned()));
    assert_eq!(first[1], (7, 1, false, "connection refused".to_owned()));
    drop(listener);
    site.wait("one more is down", || site.foreman.count() == 3);
    let down = (7, 0, false, "connection refused".to_owned());
    assert_eq!(told(&site.foreman)[2], down);
    // Another daemon, which remembers half of it, and does not listen at first.
    let mut next = duties(8, &[check], &[closed, at]);
    next["targets"][0]["healthy"] = json!(false);
    site.foreman.refuse(3);
    site.foreman.give(next);
    site.wait("the other half is told", || site.foreman.count() == 4);
    assert_eq!(told(&site.foreman)[3], (8, 1, false, down.3));
}

#[test]
fn a_command_leaves_no_process_behind_whatever_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // A child of its own session, whose parent is over, and one that does not end.
    let script = format!(
        "setsid sh -c 'echo $$ >> {0}; sleep 3600 & echo $! >> {0}; exit' & \
         (setsid sleep 3600 & echo $! >> {0}); echo $$ >> {0}; sleep 3600",
        pids.display()
    );
    let command = json!({"kind": "command", "program": "/bin/sh", "arguments": ["-c", script]});
    let at = "127.0.0.1:1".parse().unwrap();
    let mut check = check(&command);
    check["fall"] = json!(1);
    // Enough to start all of them, on a busy machine as well.
    check["timeout"] = json!(8_000);
    // Once, as far as this test goes.
    check["fast_interval"] = json!(3_600_000);
    check["interval"] = json!(3_600_000);
    let site = Site::begin(duties(1, &[check], &[at]));
    site.wait("it is known", || site.foreman.count() == 1);
    let down = (1, 0, false, "no end within 8 s".to_owned());
    assert_eq!(told(&site.foreman)[0], down);
    let started = fs::read_to_string(&pids).unwrap();
    assert_eq!(started.lines().count(), 4, "{started}");
    for pid in started.lines() {
        // Somebody else may have its number by now, and on a busy machine it is reaped after the next run only.
        let is_ours = |stat: &str| {
            let is_one = |name: &str| stat.contains(&format!("({name})"));
            (is_one("sh") || is_one("sleep")) && !stat.contains(") Z ")
        };
        site.wait("a process is gone", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            !stat.is_ok_and(|stat| is_ours(&stat))
        });
    }
}

/// The demand is each of them every 10 s on one core, and none of them late. How late they were is printed: a busy machine
/// may be in the way.
#[test]
fn ten_thousand_targets_are_probed_by_one_agent() {
    let Some(_network) = network() else { return };
    let listener = roomy(7000);
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    thread::spawn(move || {
        while listener.accept().is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let site = Site::begin(duties(1, &[], &[]));
    site.wait("it has its duties", || site.foreman.asked() >= 2);
    let idle = site.kilobytes("VmRSS:");
    let begun = Instant::now();
    site.foreman.give(duties(2, &[tcp()], &many(127, 7000)));
    site.wait("all are known", || site.foreman.count() == 10_000);
    let took = begun.elapsed().as_secs_f64();
    let (user, system) = site.ticks();
    let _ = writeln!(
        stderr(),
        "10,000 targets by TCP: {} probes in {took:.1} s, {user} + {system} hundredths of a second of \
         processor time, {} kB of memory ({} at most, {idle} without targets), {}",
        accepted.load(Ordering::Relaxed),
        site.kilobytes("VmRSS:"),
        site.kilobytes("VmHWM:"),
        match site.log().contains("probes are late") {
            true => "some late",
            false => "none late",
        }
    );
    assert!(told(&site.foreman).iter().all(|it| it.2));
}

#[test]
fn ten_thousand_targets_that_all_hang_take_what_the_unit_allows() {
    let Some(network) = network() else { return };
    // A wire that asks nobody who has an address, and at whose end nobody listens.
    let wire = ["link", "add", "hole", "type", "veth", "peer", "name", "end"];
    NetNs::ip(&wire).unwrap();
    NetNs::ip(&["link", "set", "hole", "arp", "off", "up"]).unwrap();
    NetNs::ip(&["link", "set", "end", "up"]).unwrap();
    NetNs::ip(&["addr", "add", "10.255.255.254/8", "dev", "hole"]).unwrap();
    let mut check = tcp();
    check["fast_interval"] = json!(1_000);
    let mut targets = many(10, 80);
    // And one that does not.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    targets.push(listener.local_addr().unwrap());
    let site = Site::begin(duties(1, &[check], &targets));
    let mut most = 0;
    site.wait("all are known", || {
        most = most.max(site.descriptors());
        site.foreman.count() == 10_001
    });
    let _ = writeln!(
        stderr(),
        "10,000 targets that hang: {most} descriptors, {} kB of memory at most, {:?} hundredths of a second",
        site.kilobytes("VmHWM:"),
        site.ticks(),
    );
    assert!(most < 16_384);
    let told = told(&site.foreman);
    let down = |it: &&(u64, u64, bool, String)| it.3 == "no answer within 1 s" && !it.2;
    assert_eq!(told.iter().filter(down).count(), 10_000);
    assert!(told.iter().any(|it| it.1 == 10_000 && it.2));
    drop(network);
}

/// A listener whose queue holds what comes while a busy machine does something else.
fn roomy(port: u16) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&at.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

fn network() -> Option<NetNs> {
    match NetNs::enter() {
        Ok(network) => Some(network),
        Err(error) => {
            require::skip(&format!("no network namespace: {error}"));
            None
        }
    }
}
