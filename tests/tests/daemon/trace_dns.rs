//! `trace --dns`: what the agent is asked, told to whoever looks on.

use crate::PROGRAM;
use kmesh_lite_tests::agent::Agent;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::dig::{dig, question};
use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::ends_with_us;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// An agent that is not started by its unit has no right to a lower port.
const AT: &str = "127.0.0.1:5353";
/// Only reached if the test fails.
const TOO_LONG: Duration = Duration::from_secs(30);

fn mesh() -> String {
    limited(&format!(
        "[dns]\nlisten = [\"{AT}\"]\nupstreams = \"{}\"\ntimeout = \"500ms\"\n{SERVICES}",
        Dnsmasq::AT
    ))
}

const SERVICES: &str = "[services.payments]\nvips = [\"10.96.0.10\"]\nhostnames = [\"*.pay.example\"]\n\
                        ports = [80]\nendpoints = [\"127.0.0.2\"]\n";

/// A host with an upstream whose answers may be remembered.
fn host() -> Option<(Host, Dnsmasq)> {
    let host = Host::new()?;
    if !require::programs(&["dnsmasq", "dig"]) {
        return None;
    }
    // What it has of hosts has no time to live.
    let upstream = Dnsmasq::start("", &["--host-record=www.internal,192.0.2.1,60"]);
    Some((host, upstream))
}

fn wait(daemon: &mut Daemon) {
    daemon.wait_until("names are answered", |_| {
        dig(AT, &["+time=1", "payments.mesh", "A"]).status == "NOERROR"
    });
}

fn readers(daemon: &Daemon) -> u64 {
    let status = daemon.json(&["status"]);
    status["events"]["dns_readers"].as_u64().expect("a number")
}

/// `GET` of a path of the control socket: the whole answer, or what there is of one without an end.
fn ask(daemon: &Daemon, path: &str) -> UnixStream {
    let mut socket = UnixStream::connect(daemon.path("socket")).expect("the socket");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("a request");
    socket
}

/// Whether the agent is told to tell what it is asked.
fn is_wanted(daemon: &Daemon) -> bool {
    let mut text = String::new();
    let mut answer = ask(daemon, "/v1/agent");
    answer.read_to_string(&mut text).expect("an answer");
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    let duties: Value = serde_json::from_str(body).expect("JSON");
    duties["dns"]["trace"].as_bool().expect("duties of DNS")
}

/// The verb, and what it says.
struct Looking {
    child: Child,
    said: Receiver<String>,
    warned: Receiver<String>,
}

impl Looking {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["trace", "--dns"]).args(arguments);
        command.arg("--socket").arg(daemon.path("socket"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ends_with_us(&mut command).spawn().expect("the verb");
        let said = lines(child.stdout.take().expect("a pipe"));
        let warned = lines(child.stderr.take().expect("a pipe"));
        Self {
            child,
            said,
            warned,
        }
    }

    /// In words, once the agent tells what it is asked.
    fn begun(daemon: &Daemon, arguments: &[&str]) -> Self {
        let this = Self::start(daemon, arguments);
        let heading = this.next();
        assert!(heading.ends_with("question"), "{heading}");
        this
    }

    fn next(&self) -> String {
        self.said.recv_timeout(TOO_LONG).expect("a line")
    }

    fn event(&self) -> Value {
        serde_json::from_str(&self.next()).expect("JSON")
    }

    fn warning(&self) -> String {
        self.warned.recv_timeout(TOO_LONG).expect("a warning")
    }

    fn interrupt(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).expect("a signal");
        assert!(self.child.wait().expect("its end").success());
    }
}

/// Lines as they come, so that whoever waits for one can lose patience.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// What is the same each time.
fn essence(event: &Value) -> Value {
    assert_eq!(event["event"], "query", "{event}");
    let client = event["client"].as_str().expect("a client");
    assert!(client.starts_with("127.0.0.1:"), "{event}");
    assert!(event["duration_seconds"].as_f64().expect("a time") > 0.0);
    json!([
        event["transport"],
        event["type"],
        event["name"],
        event["outcome"],
        event["service"],
        event["upstream"],
        event["code"]
    ])
}

#[test]
fn each_question_is_told_with_what_came_of_it_as_long_as_somebody_reads() {
    let Some((host, mut upstream)) = host() else {
        return;
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh());
    wait(&mut daemon);
    assert_eq!(dig(AT, &["early.mesh", "A"]).status, "NXDOMAIN");
    assert!(!is_wanted(&daemon));

    let words = Looking::begun(&daemon, &[]);
    assert!(is_wanted(&daemon));
    let all = Looking::start(&daemon, &["--json"]);
    daemon.wait_until("both read", |daemon| readers(daemon) == 2);
    dig(AT, &["Payments.MESH", "A"]);
    dig(AT, &["+tcp", "any.pay.example", "A"]);
    dig(AT, &["payments.mesh", "TXT"]);
    dig(AT, &["no.mesh", "AAAA"]);
    assert_eq!(dig(AT, &["www.internal", "A"]).answers, ["192.0.2.1"]);
    assert_eq!(
        dig(AT, &["+tcp", "www.internal", "A"]).answers,
        ["192.0.2.1"]
    );
    dig(AT, &[r"a\032b\027[2J\.\255.internal", "TYPE65280"]);
    dig(AT, &["version.bind", "CH", "TXT"]);
    upstream.end();
    assert_eq!(dig(AT, &["gone.internal", "A"]).status, "SERVFAIL");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&[0; 12], AT).unwrap();
    let at = Dnsmasq::AT;
    for expected in [
        json!([
            "udp",
            "A",
            "Payments.MESH",
            "answered",
            "payments",
            null,
            null
        ]),
        json!([
            "tcp",
            "A",
            "any.pay.example",
            "answered",
            "payments",
            null,
            null
        ]),
        json!([
            "udp",
            "TXT",
            "payments.mesh",
            "nodata",
            "payments",
            null,
            null
        ]),
        json!(["udp", "AAAA", "no.mesh", "nxdomain", null, null, null]),
        json!(["udp", "A", "www.internal", "forwarded", null, at, "NOERROR"]),
        json!(["tcp", "A", "www.internal", "cached", null, null, "NOERROR"]),
        json!([
            "udp",
            "TYPE65280",
            r"a\032b\027[2J\.\255.internal",
            "forwarded",
            null,
            at,
            "NXDOMAIN"
        ]),
        json!(["udp", "TXT", "version.bind", "refused", null, null, null]),
        json!(["udp", "A", "gone.internal", "failed", null, null, null]),
        json!(["udp", null, null, "malformed", null, null, null]),
    ] {
        let event = all.event();
        assert_eq!(essence(&event), expected, "{event}");
    }
    let line = words.next();
    for part in [
        " answered   udp  127.0.0.1:",
        " ms  Payments.MESH (service payments): the mesh has it",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let forwarded = words.said.iter().find(|line| line.contains("forwarded"));
    let forwarded = forwarded.unwrap();
    assert!(
        forwarded.ends_with("www.internal: NOERROR from 127.0.0.1:5300"),
        "{forwarded}"
    );
    words.interrupt();
    all.interrupt();
    daemon.wait_until("they have gone", |daemon| readers(daemon) == 0);
    assert!(!is_wanted(&daemon));

    // What is asked meanwhile is told to nobody, later neither.
    dig(AT, &["between.mesh", "A"]);
    let next = Looking::begun(&daemon, &[]);
    dig(AT, &["after.mesh", "A"]);
    let line = next.next();
    assert!(line.contains("after.mesh"), "{line}");
    next.interrupt();
}

#[test]
fn filters_let_what_they_name_and_senseless_ones_are_refused() {
    let Some((host, _upstream)) = host() else {
        return;
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh());
    wait(&mut daemon);
    let below = Looking::begun(&daemon, &["--name", "*.mesh", "--outcome", "nxdomain"]);
    let of_service = Looking::begun(&daemon, &["--service", "payments"]);
    let unknown = Looking::start(&daemon, &["--service", "payment"]);
    let warning = unknown.warning();
    assert!(
        warning.contains("no service `payment`") && warning.contains("`payments`?"),
        "{warning}"
    );
    for name in ["www.internal", "no.internal", "no.mesh", "payments.mesh"] {
        dig(AT, &[name, "A"]);
    }
    let line = below.next();
    assert!(line.contains(" no.mesh: "), "{line}");
    let line = of_service.next();
    assert!(line.contains(" payments.mesh (service payments)"), "{line}");
    for looking in [below, of_service, unknown] {
        looking.interrupt();
    }

    let refused = |arguments: &[&str]| {
        let output = daemon.verb(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = refused(&["trace", "--dns", "--outcome", "nxdomian"]);
    assert_eq!(code, Some(1));
    for part in ["did you mean `nxdomain`?", "`forwarded`", "`dropped`"] {
        assert!(text.contains(part), "{text}");
    }
    let (code, text) = refused(&["trace", "--dns", "--name", "a b"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("`\\032` for a blank"), "{text}");
    for other in ["--unit", "--endpoint", "--policy", "--since"] {
        let (code, text) = refused(&["trace", "--dns", other, "1"]);
        assert_eq!(code, Some(2), "{other}");
        assert!(
            text.contains("cannot be used with") && text.contains(other),
            "{text}"
        );
    }
    let (code, text) = refused(&["trace", "--name", "web.mesh"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("--dns"), "{text}");
}

#[test]
fn that_nobody_answers_names_is_warned_of_and_the_reader_goes_on_when_somebody_does() {
    let Some((host, _upstream)) = host() else {
        return;
    };
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&limited(SERVICES)));
    let early = Looking::start(&daemon, &[]);
    let warning = early.warning();
    assert!(
        warning.starts_with("warning: the mesh has no `[dns] listen`"),
        "{warning}"
    );
    daemon.save(&mesh());
    daemon.wait_until("names are served", |daemon| {
        daemon.json(&["status"])["dns"].is_object()
    });
    let looking = Looking::start(&daemon, &[]);
    let warning = looking.warning();
    assert!(
        warning.starts_with("warning: the agent does not tell what it is asked"),
        "{warning}"
    );

    let agent = Agent::start(PROGRAM, &daemon);
    for looking in [&early, &looking] {
        let warning = looking.warning();
        assert!(warning.ends_with("from now on"), "{warning}");
    }
    wait(&mut daemon);
    let asked = |looking: &Looking| {
        let mut lines = looking.said.iter();
        lines.find(|line| line.contains(" payments.mesh (service payments)"))
    };
    assert!(asked(&early).is_some() && asked(&looking).is_some());

    // Another one takes its place.
    agent.signal(Signal::SIGKILL);
    let warning = looking.warning();
    assert!(warning.contains("it is away"), "{warning}");
    drop(agent);
    let _agent = Agent::start(PROGRAM, &daemon);
    let warning = looking.warning();
    assert!(warning.ends_with("from now on"), "{warning}");
    daemon.wait_until("names are answered", |_| {
        dig(AT, &["+time=1", "later.mesh", "A"]).status == "NXDOMAIN"
    });
    let mut lines = looking.said.iter();
    assert!(lines.any(|line| line.contains(" later.mesh: ")));
    for looking in [early, looking] {
        looking.interrupt();
    }
}

#[test]
fn a_reader_of_questions_that_does_not_read_loses_and_is_told_how_many() {
    const QUESTIONS: u64 = 20_000;
    let Some((host, _upstream)) = host() else {
        return;
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh());
    wait(&mut daemon);
    let idle = ask(&daemon, "/v1/trace/dns?name=payments.mesh");
    let other = Looking::begun(&daemon, &["--name", "last.mesh"]);
    daemon.wait_until("both read", |daemon| readers(daemon) == 2);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(AT).unwrap();
    socket.set_read_timeout(Some(TOO_LONG)).unwrap();
    let (asked, mut answer) = (question("payments.mesh"), [0; 512]);
    for _ in 0..QUESTIONS {
        socket.send(&asked).unwrap();
        socket.recv(&mut answer).unwrap();
    }
    // The agent has told all of them when it tells this one.
    dig(AT, &["last.mesh", "A"]);
    assert!(other.next().contains("last.mesh"));
    let (mut heard, mut lost) = (0, 0);
    let lines = BufReader::new(idle).lines().map_while(Result::ok);
    for line in lines.filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        match event["lost"].as_u64() {
            Some(more) => lost += more,
            None => heard += 1,
        }
        if heard + lost >= QUESTIONS {
            break;
        }
    }
    assert!(heard > 0 && lost > 0, "{heard} {lost}");
    assert_eq!(heard + lost, QUESTIONS);
    other.interrupt();
}
