//! Servers that die in different ways: until when connects go there, with this mesh and with HAProxy, which probe them
//! equally often, and with this mesh where it probes as keepalived is mostly told to. The figures are printed, and nothing
//! fails for being slow.

use crate::PROGRAM;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::moody::{Mood, Moody};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use kmesh_lite_tests::zone::Zone;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For a client, which has no time.
const PATIENCE: Duration = Duration::from_millis(200);
/// So long nothing has to go wrong before it is over.
const QUIET: Duration = Duration::from_secs(2);
/// Only reached if nobody notices.
const TOO_LONG: Duration = Duration::from_secs(30);

const MESH: &str = "10.96.0.10:80";
/// Another service of the same endpoints.
const SLOWLY_PROBED: &str = "10.96.0.11:80";
const HAPROXY: &str = "127.0.0.1:9100";

const PROBED: &str = "[health]\ncheck = \"http\"\ninterval = \"500ms\"\nfast_interval = \"250ms\"\n\
    timeout = \"250ms\"\nrise = 1\nfall = 2\njitter = 0\n\
    [services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\n\
    endpoints = [\"10.50.1.2\", \"10.50.2.2\"]\n\
    [services.slow]\nvips = [\"10.96.0.11\"]\nports = [\"80:8080\"]\n\
    endpoints = [\"10.50.1.2\", \"10.50.2.2\"]\n\
    health = { check = \"tcp\", interval = \"3s\", fast_interval = \"1s\", timeout = \"900ms\", rise = 1, fall = 3 }\n";

/// `TCP_CHECK` of keepalived with `delay_loop 3`, `retry 2`, `delay_before_retry 1` and `connect_timeout 1` would do the
/// same.
const SAME: &str = "defaults\n mode tcp\n retries 0\n timeout connect 200ms\n timeout client 5s\n timeout server 5s\n\
    timeout check 250ms\nlisten web\n bind 127.0.0.1:9100\n option httpchk GET /\n\
    default-server check inter 500ms fastinter 250ms downinter 250ms fall 2 rise 1\n\
    server near 10.50.1.2:8080\n server far 10.50.2.2:8080\n";

/// Ended when dropped.
struct Haproxy(Child);

impl Haproxy {
    fn start(daemon: &Daemon) -> Self {
        let file = daemon.path("haproxy.cfg");
        fs::write(&file, SAME).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(ends_with_us(&mut command).spawn().expect("haproxy"))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a request was answered well, and in time.
fn succeeds(at: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// How long after `since` the last request began that went wrong.
fn last_misdirected(at: &str, since: Instant) -> Duration {
    let at = at.parse().unwrap();
    let mut last = since;
    loop {
        let begun = Instant::now();
        if !succeeds(at) {
            last = begun;
        }
        if begun - last > QUIET {
            return last - since;
        }
        assert!(begun - since < TOO_LONG, "nobody notices at {at}");
    }
}

/// Waits until this address answers well for a while.
fn is_well(at: &str) {
    let since = Instant::now();
    last_misdirected(at, since);
}

fn healthy(daemon: &Daemon) -> usize {
    let status = daemon.json(&["status"]);
    let services = status["datapath"]["services"].as_array().unwrap().iter();
    let services = services.filter(|it| it["name"] == "web");
    let priorities = services.flat_map(|it| it["priorities"].as_array().unwrap());
    let endpoints = priorities.flat_map(|it| it["endpoints"].as_array().unwrap());
    let is_healthy = |it: &&Value| it["health"]["state"] == "healthy";
    endpoints.filter(is_healthy).count()
}

#[test]
fn a_server_that_dies_in_whatever_way_is_left() {
    if !require::programs(&["haproxy"]) {
        return;
    }
    let Some(host) = Host::new() else { return };
    let (near, far) = (Zone::new(1), Zone::new(2));
    let start = |zone: &Zone, at: &'static str| zone.inside(move || Moody::start(at));
    let _far = start(&far, "10.50.2.2:8080");
    let mut server = Some(start(&near, "10.50.1.2:8080"));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &limited(PROBED));
    let _haproxy = Haproxy::start(&daemon);
    let mut table = String::from("from failure to the last misdirected request, ms:\n");
    // The last word: whether a check that only connects can see it.
    let faults: [(&str, Option<Mood>, bool); 5] = [
        ("process ended", Some(Mood::Gone), true),
        ("cable pulled", None, true),
        ("backlog full", Some(Mood::Deaf), true),
        ("every answer 500", Some(Mood::Failing), false),
        ("answers too slow", Some(Mood::Slow), false),
    ];
    for (name, mood, by_connect) in faults {
        let mut times = Vec::new();
        let all = [MESH, HAPROXY, SLOWLY_PROBED];
        for at in all
            .into_iter()
            .filter(|at| by_connect || *at != SLOWLY_PROBED)
        {
            daemon.wait_until("both are healthy", |it| healthy(it) == 2);
            is_well(at);
            match mood {
                None => near.unplug(),
                Some(mood) => server.as_mut().unwrap().become_so(mood),
            }
            let since = Instant::now();
            times.push(last_misdirected(at, since).as_millis());
            if at == MESH {
                assert_eq!(healthy(&daemon), 1, "{name}");
            }
            near.plug();
            // Its address is free then.
            drop(server.take());
            server = Some(start(&near, "10.50.1.2:8080"));
        }
        table += &format!(
            "  {name:<18} kmesh-lite {:>5}  HAProxy {:>5}  as keepalived {:>5}\n",
            times[0],
            times[1],
            times.get(2).map_or("never".to_owned(), ToString::to_string)
        );
    }
    println!("{table}");
}
