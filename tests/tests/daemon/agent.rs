//! The agent beside a real daemon: what it serves to the network, and what it may do.

use crate::PROGRAM;
use kmesh_lite::host::agent_user;
use kmesh_lite_tests::agent::Agent;
use kmesh_lite_tests::client::address;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::scrape::{Scrape, ask, get};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

fn listening(listen: &Value) -> String {
    limited(&format!(
        "[metrics]\nlisten = {listen}\n[services.web]\nvips = [\"10.96.0.10\"]\nports = [80]\n\
         endpoints = [\"127.0.0.2\"]\n"
    ))
}

fn metrics(at: &str) -> Option<Scrape> {
    get(at, "/metrics", "").ok()
}

fn serves(at: &str) -> bool {
    metrics(at).is_some_and(|scrape| scrape.status == 200)
}

fn field(pid: i64, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let mut values = line.unwrap().split_whitespace();
    values.next().unwrap_or_default().to_owned()
}

/// Whether a process is over. Its parent may not have looked yet.
fn is_over(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

fn agent_of(daemon: &Daemon) -> Value {
    daemon.json(&["status"])["agent"].clone()
}

#[test]
fn a_daemon_in_the_foreground_has_an_agent_with_one_right() {
    let Some(host) = Host::new() else { return };
    let text = listening(&json!("127.0.0.1:9900"));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text);
    daemon.wait_until("metrics are served", |_| serves("127.0.0.1:9900"));
    daemon.wait_until("the agent has reported", |daemon| {
        agent_of(daemon)["metrics"][0]["serving"] == true
    });
    // It waited for the socket without a word.
    let log = daemon.log();
    assert!(!log.contains("the daemon is away"), "{log}");
    let pid = agent_of(&daemon)["pid"].as_i64().unwrap();
    assert_ne!(field(pid, "Uid:"), "0");
    // Ports below 1024, and nothing that a command would have as well.
    assert_eq!(field(pid, "CapEff:"), "0000000000000400");
    assert_eq!(field(pid, "CapPrm:"), "0000000000000400");
    assert_eq!(field(pid, "CapInh:"), "0000000000000000");
    assert_eq!(field(pid, "CapAmb:"), "0000000000000000");
    assert_eq!(field(pid, "NoNewPrivs:"), "1");
    assert_eq!(field(pid, "Groups:").len(), 0);

    // The daemon's own process listens to nobody.
    let scrape = metrics("127.0.0.1:9900").unwrap();
    assert!(
        scrape.text.contains("\nkmesh_lite_build_info{"),
        "{}",
        scrape.text
    );
    assert_eq!(scrape.series("kmesh_lite_service_refuses").len(), 1);
    assert_eq!(scrape.series("process_start_time_seconds").len(), 1);
    let open = get(
        "127.0.0.1:9900",
        "/metrics",
        "Accept: application/openmetrics-text\r\n",
    );
    let open = open.unwrap();
    assert!(open.text.ends_with("# EOF\n"), "{}", open.text);
    assert!(open.headers["content-type"].starts_with("application/openmetrics-text"));

    // Nothing else is reached this way.
    let status = |method, path| ask("127.0.0.1:9900", method, path, "").unwrap().status;
    assert_eq!(status("HEAD", "/metrics"), 200);
    assert_eq!(status("GET", "/"), 200);
    for path in [
        "/v1/status",
        "/v1/agent",
        "/v1/dump",
        "//v1/status",
        "/metrics/../v1/status",
    ] {
        assert_eq!(status("GET", path), 404, "{path}");
    }
    assert_eq!(status("POST", "/metrics"), 405);
    assert_eq!(status("POST", "/v1/reload"), 404);

    // Another one takes the place of one that dies.
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    daemon.wait_until("another agent serves", |daemon| {
        let agent = agent_of(daemon);
        agent["pid"] != pid && agent["metrics"][0]["serving"] == true && serves("127.0.0.1:9900")
    });
    let next = agent_of(&daemon)["pid"].as_i64().unwrap();
    // None outlives its daemon, however that one ends.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert!(eventually(|| is_over(next)));
}

#[test]
fn commands_of_an_agent_of_root_are_in_no_group_of_root_and_end_with_the_daemon() {
    let Some(host) = Host::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let pids = folder.path().join("pids");
    // One says its groups. The other one does not end, nor does what it has started, in a session of its own.
    let groups = "echo groups $(id -g) $(id -rg) $(id -G); exit 1".to_owned();
    let hangs = format!(
        "setsid sleep 3600 & echo $! >> {0}; echo $$ >> {0}; sleep 3600",
        pids.display()
    );
    let service = |name: &str, number: u8, script: &str| {
        format!(
            "[services.{name}]\nvips = [\"10.96.0.{number}\"]\nports = [80]\n\
             endpoints = [\"127.0.0.{number}\"]\n\
             health = {{ check = \"command\", interval = \"1h\", timeout = \"1h\", fall = 1, \
             command = [\"/bin/sh\", \"-c\", \"{script}\"] }}\n"
        )
    };
    let text = service("groups", 11, &groups) + &service("hangs", 12, &hangs);
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &limited(&text));
    let mut said = String::new();
    daemon.wait_until("the groups are told", |it| {
        let status = it.json(&["status", "groups"]);
        let endpoint = &status["datapath"]["services"][0]["priorities"][0]["endpoints"][0];
        let reason = endpoint["health"]["reason"].as_str().unwrap_or_default();
        said = reason.to_owned();
        said.contains("groups")
    });
    let words: Vec<_> = said.split(' ').skip_while(|it| *it != "groups").collect();
    assert!(words.len() > 3 && !words.contains(&"0"), "{said}");
    let started = || fs::read_to_string(&pids).unwrap_or_default();
    assert!(eventually(|| started().lines().count() == 2));
    let pid_of = |line: &str| line.parse::<i64>().unwrap();
    assert!(started().lines().map(pid_of).all(|pid| !is_over(pid)));
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    for pid in started().lines().map(pid_of) {
        assert!(eventually(|| is_over(pid)), "{pid} is still there");
    }
}

#[test]
fn an_agent_ends_with_a_daemon_that_is_stopped() {
    let Some(host) = Host::new() else { return };
    let text = listening(&json!(["127.0.0.1:9900"]));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text);
    daemon.wait_until("the agent has reported", |daemon| {
        agent_of(daemon)["pid"].is_i64()
    });
    let pid = agent_of(&daemon)["pid"].as_i64().unwrap();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(is_over(pid));
}

#[test]
fn a_changed_file_is_followed_and_a_daemon_that_is_away_is_waited_for() {
    let Some(host) = Host::new() else { return };
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&listening(&json!([]))));
    assert_eq!(agent_of(&daemon), Value::Null);
    let _agent = Agent::start(PROGRAM, &daemon);
    daemon.wait_until("the agent is there", |daemon| {
        agent_of(daemon)["pid"].is_i64()
    });
    assert!(metrics("127.0.0.1:9900").is_none());

    daemon.save(&listening(&json!("127.0.0.1:9900")));
    daemon.wait_until("the address is served", |_| serves("127.0.0.1:9900"));
    // One that contains the other.
    daemon.save(&listening(&json!(["0.0.0.0:9900", "[::1]:9901"])));
    daemon.wait_until("both are served", |_| {
        serves("127.0.0.9:9900") && serves("[::1]:9901")
    });
    daemon.save("nonsense");
    daemon.wait_until("the last good file is kept", |daemon| {
        daemon.state() == "keeping"
    });
    assert!(serves("[::1]:9901"));
    daemon.save(&listening(&json!(["[::1]:9901"])));
    daemon.wait_until("one is let go", |_| metrics("127.0.0.1:9900").is_none());

    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let away = metrics("[::1]:9901").unwrap();
    assert_eq!(away.status, 503);
    assert!(away.text.contains("nobody answers on"), "{away:?}");
    let log = || fs::read_to_string(daemon.path("agent.log")).unwrap();
    assert!(
        eventually(|| log().contains("the daemon is away, and is asked again")),
        "{}",
        log()
    );
    // Meanwhile the file says something else.
    daemon.save(&listening(&json!(["127.0.0.1:9902"])));
    daemon.launch_again(&[]);
    daemon.wait_until("the next daemon is followed", |_| serves("127.0.0.1:9902"));
    daemon.wait_until("what it does not want is gone", |_| {
        metrics("[::1]:9901").is_none()
    });
}

#[test]
fn an_address_that_cannot_be_had_is_told_once_and_tried_again() {
    let Some(host) = Host::new() else { return };
    let taken = TcpListener::bind("127.0.0.1:9902").unwrap();
    let listen = json!(["127.0.0.1:9901", "127.0.0.1:9902", "192.0.2.1:9900"]);
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&listening(&listen)));
    let _agent = Agent::start(PROGRAM, &daemon);
    daemon.wait_until("the first is served", |_| serves("127.0.0.1:9901"));
    let error = |daemon: &Daemon, number: usize| {
        let agent = agent_of(daemon);
        agent["metrics"][number]["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    daemon.wait_until("the others are told", |daemon| {
        error(daemon, 1).contains("in use") && error(daemon, 2).contains("Cannot assign")
    });
    let status = daemon.verb(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("127.0.0.1:9902: Address already in use"),
        "{status}"
    );
    assert_eq!(agent_of(&daemon)["metrics"][0]["serving"], true);

    drop(taken);
    daemon.wait_until("it is served when it is free", |_| serves("127.0.0.1:9902"));
    daemon.wait_until("that is told", |daemon| error(daemon, 1).is_empty());
    host.add(&["192.0.2.1"]);
    daemon.wait_until("it is served when it is there", |_| {
        serves("192.0.2.1:9900")
    });
    let log = fs::read_to_string(daemon.path("agent.log")).unwrap();
    for at in ["127.0.0.1:9902", "192.0.2.1:9900"] {
        let told = format!("cannot serve metrics at {at}");
        assert_eq!(log.matches(&told).count(), 1, "{log}");
    }
}

/// Metrics of so many services fill every buffer on their way to a scraper that does not read.
fn many_services() -> String {
    let mut text = "metrics.listen = \"127.0.0.1:9900\"\n".to_owned();
    for number in 0..2_000 {
        let (high, low) = (number / 250, number % 250);
        let _ = write!(
            text,
            "[services.service-with-a-rather-long-name-{number}]\n\
             vips = [\"10.96.{high}.{low}\"]\nports = [80]\nendpoints = [\"127.0.0.2\"]\n"
        );
    }
    text
}

#[test]
fn scrapers_that_do_not_read_take_little_and_keep_nobody_out() {
    let Some(host) = Host::alone() else { return };
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&many_services()));
    let agent = Agent::start(PROGRAM, &daemon);
    daemon.wait_until("metrics are served", |_| serves("127.0.0.1:9900"));
    let slow: Vec<_> = (0..400)
        .filter_map(|number| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
            socket.set_recv_buffer_size(2_048).ok()?;
            socket.connect(&address("127.0.0.1:9900").into()).ok()?;
            if number % 2 == 0 {
                let _ = (&socket).write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            Some(socket)
        })
        .collect();
    assert!(!slow.is_empty());
    // Others on the control socket notice nothing.
    assert_eq!(daemon.state(), "routing");
    daemon.wait_until("a scraper that reads is served", |_| {
        serves("127.0.0.1:9900")
    });
    let resident: u64 = field(agent.pid().into(), "VmHWM:").parse().unwrap();
    assert!(resident < 48 * 1024, "{resident} kB");
    drop(slow);
}

#[test]
fn thousands_of_scrapes_leave_nothing_behind() {
    let Some(host) = Host::alone() else { return };
    let text = listening(&json!("127.0.0.1:9900"));
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&text));
    let agent = Agent::start(PROGRAM, &daemon);
    daemon.wait_until("metrics are served", |_| serves("127.0.0.1:9900"));
    let open = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let idle = |daemon: &Daemon| (open(daemon.pid()), open(agent.pid()));
    let before = idle(&daemon);
    // Threads begin in the network of the test.
    let served: usize = thread::scope(|scope| {
        let scraper = || (0..300).filter(|_| serves("127.0.0.1:9900")).count();
        let scrapers: Vec<_> = (0..8).map(|_| scope.spawn(scraper)).collect();
        let served = scrapers.into_iter().map(|it| it.join().unwrap());
        served.sum()
    });
    // One that waits too long for its turn is told so.
    assert!(served > 1_200, "{served}");
    daemon.wait_until("everything is closed", |daemon| {
        let (daemon, agent) = idle(daemon);
        daemon <= before.0 && agent <= before.1
    });
    let resident: u64 = field(agent.pid().into(), "VmHWM:").parse().unwrap();
    assert!(resident < 48 * 1024, "{resident} kB");
    assert_eq!(daemon.state(), "routing");
}

#[test]
fn a_member_of_the_group_that_is_no_agent_reports_nothing() {
    let Some(host) = Host::new() else { return };
    let text = listening(&json!("127.0.0.1:9900"));
    let daemon = Daemon::start(PROGRAM, &host, Some(&text));
    let post = |uid: u32, body: &str| {
        let mut command = Command::new("curl");
        command.args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--unix-socket",
        ]);
        command.arg(daemon.path("socket"));
        command.args(["--data-binary", body, "http://localhost/v1/agent"]);
        let output = command.uid(uid).gid(0).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let body = r#"{"metrics": [{"listen": "127.0.0.1:9900"}]}"#;
    assert_eq!(post(54_321, body), "403");
    assert_eq!(post(agent_user(), r#"{"metrics": 7}"#), "400");
    assert_eq!(
        post(agent_user(), &format!("{body}{}", " ".repeat(17 * 1024))),
        "400"
    );
    assert_eq!(agent_of(&daemon)["pid"], Value::Null);
    assert_eq!(post(agent_user(), body), "204");
    assert_eq!(agent_of(&daemon)["metrics"][0]["serving"], true);
}
