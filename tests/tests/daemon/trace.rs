//! `trace`: what happens to connections, told to whoever looks on.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::server::ends_with_us;
use kmesh_lite_tests::terminal::Terminal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.empty]
    vips = ["10.96.0.12"]
    ports = [80]
    endpoints = []
"#;

fn start() -> Option<(Host, Vec<Echo>, Daemon)> {
    let host = Host::new()?;
    let servers = Echo::everywhere(&[8080]);
    let daemon = Daemon::start(PROGRAM, &host, Some(&limited(MESH)));
    Some((host, servers, daemon))
}

fn readers(daemon: &Daemon) -> u64 {
    let status = daemon.json(&["status"]);
    status["events"]["readers"].as_u64().expect("a number")
}

/// The verb, once the daemon knows of it.
fn trace(daemon: &mut Daemon, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let before = readers(daemon);
    let mut command = Command::new(PROGRAM);
    command.arg("trace").args(arguments).arg("--socket");
    command.arg(daemon.path("socket")).stdout(Stdio::piped());
    let mut child = ends_with_us(&mut command).spawn().expect("the verb");
    daemon.wait_until("it listens", |daemon| readers(daemon) > before);
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, output)
}

fn next(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    line
}

fn interrupt(mut child: Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("a signal");
    assert!(child.wait().expect("its end").success());
}

#[test]
fn a_connection_is_told_as_it_happens_and_a_refusal_in_words() {
    let Some((_host, _servers, mut daemon)) = start() else {
        return;
    };
    let (all, mut heard) = trace(&mut daemon, &["--json"]);
    let (rejected, mut words) = trace(&mut daemon, &["--outcome", "rejected"]);
    call("10.96.0.10:80").expect("an answer");
    assert!(Client::tcp4().connect("10.96.0.12:80").is_err());
    let mut events = Vec::new();
    while events.len() < 4 {
        events.push(serde_json::from_str::<Value>(&next(&mut heard)).expect("JSON"));
    }
    let of_web = events.iter().filter(|event| event["service"] == "web");
    let of_web: Vec<_> = of_web
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(of_web, ["decided", "established", "closed"]);
    assert!(next(&mut words).contains("asked for"));
    let line = next(&mut words);
    for part in [
        "rejected",
        "empty",
        "10.96.0.12:80",
        "refused with EHOSTUNREACH: the service has no endpoint that its policy allows",
    ] {
        assert!(line.contains(part), "{line}");
    }
    // Who comes later sees what was kept for the others.
    let (late, mut before) = trace(&mut daemon, &["--json", "--since", "1h"]);
    let first: Value = serde_json::from_str(&next(&mut before)).expect("JSON");
    assert_eq!(first["event"], "decided");
    for child in [all, rejected, late] {
        interrupt(child);
    }
    daemon.wait_until("they have gone", |daemon| readers(daemon) == 0);
}

#[test]
fn in_a_terminal_it_shows_each_event_live_and_ends_with_ctrl_c() {
    let Some((_host, _servers, mut daemon)) = start() else {
        return;
    };
    let mut command = Command::new(PROGRAM);
    command.args(["trace", "--service", "web", "--socket"]);
    let mut terminal = Terminal::run(command.arg(daemon.path("socket")));
    daemon.wait_until("it listens", |daemon| readers(daemon) == 1);
    let client = Client::tcp4();
    assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
    terminal.wait_until("it stands", |text| text.contains("established"));
    let text = terminal.text();
    assert!(
        text.contains("asked for") && text.contains("decided"),
        "{text}"
    );
    assert!(!text.contains("closed"), "{text}");
    client.greeting();
    client.socket().set_linger(None).expect("SO_LINGER");
    drop(client);
    terminal.wait_until("it is over", |text| text.contains("closed after "));
    let colored = terminal.lines().concat();
    assert!(colored.contains("\x1b[1m\x1b[38;5;2m"), "{colored:?}");
    terminal.press("\x03");
    assert!(terminal.end().success());
    daemon.wait_until("it has gone", |daemon| readers(daemon) == 0);
}

#[test]
fn a_closed_pipe_ends_it_cleanly() {
    let Some((_host, _servers, mut daemon)) = start() else {
        return;
    };
    let (mut child, output) = trace(&mut daemon, &[]);
    drop(output);
    assert!(Client::tcp4().connect("10.96.0.12:80").is_err());
    assert!(child.wait().expect("its end").success());
    daemon.wait_until("it has gone", |daemon| readers(daemon) == 0);
}

#[test]
fn more_readers_than_there_may_be_are_told_so() {
    let Some((_host, _servers, mut daemon)) = start() else {
        return;
    };
    let there: Vec<_> = (0..8).map(|_| trace(&mut daemon, &[])).collect();
    let ninth = daemon.verb(&["trace"]);
    assert_eq!(ninth.status.code(), Some(1));
    let text = String::from_utf8_lossy(&ninth.stderr);
    assert!(text.contains("8 readers"), "{text}");
    for (child, _) in there {
        interrupt(child);
    }
}

#[test]
fn an_outcome_that_no_event_has_is_refused_with_what_was_meant() {
    let Some((_host, _servers, daemon)) = start() else {
        return;
    };
    let refused = daemon.verb(&["trace", "--outcome", "rejcted"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8_lossy(&refused.stderr);
    for part in [
        "there is no outcome `rejcted`",
        "did you mean `rejected`?",
        "`timed_out`",
        "`refuse_no_endpoint`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(readers(&daemon), 0);
}

#[test]
fn what_is_not_in_the_mesh_is_warned_of_and_shown_once_it_is_there() {
    let Some((_host, _servers, mut daemon)) = start() else {
        return;
    };
    let mut command = Command::new(PROGRAM);
    command.args(["trace", "--json", "--service", "webb"]);
    command.args(["--endpoint", "127.0.0.2:81", "--socket"]);
    command.arg(daemon.path("socket"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ends_with_us(&mut command).spawn().expect("the verb");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
    let service = next(&mut said);
    assert!(
        service.starts_with("warning: there is no service `webb` in the mesh"),
        "{service}"
    );
    assert!(service.contains("did you mean `web`?"), "{service}");
    let endpoint = next(&mut said);
    assert!(
        endpoint.starts_with("warning: there is no endpoint `127.0.0.2:81`"),
        "{endpoint}"
    );
    assert!(endpoint.contains("did you mean `127.0.0.2`?"), "{endpoint}");

    let added =
        "[services.webb]\nvips = [\"10.96.0.13\"]\nports = [80]\nendpoints = [\"127.0.0.2:81\"]\n";
    daemon.save(&limited(&format!("{MESH}{added}")));
    daemon.wait_until("the service is there", |daemon| {
        daemon.verb(&["status", "webb"]).status.success()
    });
    call("10.96.0.10:80").expect("an answer");
    assert!(Client::tcp4().connect("10.96.0.13:80").is_err());
    let mut heard = BufReader::new(child.stdout.take().expect("a pipe"));
    let event: Value = serde_json::from_str(&next(&mut heard)).expect("JSON");
    assert_eq!(event["service"], "webb");
    interrupt(child);
}

/// Lines that say something, and how many were lost.
fn count(lines: impl Iterator<Item = String>, until: u64) -> (u64, u64) {
    let (mut heard, mut lost) = (0, 0);
    for line in lines.filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        match event["lost"].as_u64() {
            Some(more) => lost += more,
            None => heard += 1,
        }
        if heard + lost >= until {
            break;
        }
    }
    (heard, lost)
}

#[test]
fn a_reader_that_does_not_read_loses_and_is_told_while_others_notice_nothing() {
    const CONNECTS: u64 = 6_000;
    let Some((_host, _servers, mut daemon)) = start() else {
        return;
    };
    let mut idle = UnixStream::connect(daemon.path("socket")).expect("the socket");
    let request = b"GET /v1/trace?outcome=rejected HTTP/1.1\r\nHost: test\r\n\r\n";
    idle.write_all(request).expect("a request");
    daemon.wait_until("it listens", |daemon| readers(daemon) == 1);
    let (child, output) = trace(&mut daemon, &["--json", "--outcome", "rejected"]);
    let reading = std::thread::spawn(move || count(output.lines().map_while(Result::ok), CONNECTS));
    for _ in 0..CONNECTS {
        assert!(Client::tcp4().connect("10.96.0.12:80").is_err());
    }
    let (heard, lost) = reading.join().expect("a reader");
    assert_eq!(heard + lost, CONNECTS);
    interrupt(child);
    // It reads at last.
    let lines = BufReader::new(idle).lines().map_while(Result::ok);
    let (heard, lost) = count(lines, CONNECTS);
    assert!(lost > 0 && heard > 0, "{heard} {lost}");
    assert_eq!(heard + lost, CONNECTS);
}
