//! Endpoints that die, and come back: a real daemon, its agent, and servers that end.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::server::ends_with_us;
use kmesh_lite_tests::zone::Zone;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

/// A service at 10.96.0.10:80 with servers at 127.0.0.2 and 127.0.0.3, port 8080, that are probed often.
pub fn mesh(keys: &str) -> String {
    limited(&format!(
        "[health]\ncheck = \"tcp\"\ninterval = \"200ms\"\nrise = 2\nfall = 2\n\
         [services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\n\
         endpoints = [\"127.0.0.2\", \"127.0.0.3\"]\n{keys}\n"
    ))
}

/// Probes go to ports of their own, so that what a probe finds and what a client meets differ.
fn probed_elsewhere(keys: &str) -> String {
    limited(&format!(
        "[health]\ncheck = \"tcp\"\ninterval = \"200ms\"\nfast_interval = \"100ms\"\nrise = 1\nfall = 1\n\
         [services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\n{keys}\n\
         endpoints = [{{ address = \"127.0.0.2\", health = {{ port = 9002 }} }},\
         {{ address = \"127.0.0.3\", health = {{ port = 9003 }} }}]\n"
    ))
}

/// The addresses at which connects end.
pub fn reached() -> BTreeSet<String> {
    let once = || loop {
        match call("10.96.0.10:80") {
            Ok(reached) => break reached.ip().to_string(),
            // That a daemon of ours has ended is a signal.
            Err(Errno::EINTR) => {}
            Err(errno) => break errno.to_string(),
        }
    };
    let reached = (0..60).map(|_| once());
    reached.collect()
}

pub fn one(address: &str) -> BTreeSet<String> {
    BTreeSet::from([address.to_owned()])
}

pub fn both() -> BTreeSet<String> {
    ["127.0.0.2", "127.0.0.3"].map(str::to_owned).into()
}

/// The endpoint of an address, as its status has it.
pub fn endpoint(daemon: &Daemon, address: &str) -> Value {
    let status = daemon.json(&["status"]);
    let services = status["datapath"]["services"].as_array().unwrap().iter();
    let priorities = services.flat_map(|it| it["priorities"].as_array().unwrap());
    let mut endpoints = priorities.flat_map(|it| it["endpoints"].as_array().unwrap());
    endpoints
        .find(|it| it["address"] == address)
        .unwrap_or_else(|| panic!("no {address} in {status}"))
        .clone()
}

pub fn state(daemon: &Daemon, address: &str) -> String {
    let endpoint = endpoint(daemon, address);
    let state = endpoint["health"]["state"].as_str();
    state.unwrap_or("none").to_owned()
}

fn agent_pid(daemon: &Daemon) -> Option<i64> {
    let status = daemon.json(&["status"]);
    status["agent"]["pid"].as_i64()
}

#[test]
fn an_endpoint_whose_server_ends_is_left_until_it_is_back() {
    let Some(host) = Host::new() else { return };
    let near = Echo::tcp("127.0.0.2:8080");
    let _far = Echo::tcp("127.0.0.3:8080");
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(""));
    daemon.wait_until("both are known", |it| {
        state(it, "127.0.0.2") == "healthy" && state(it, "127.0.0.3") == "healthy"
    });
    assert_eq!(reached(), both());
    drop(near);
    daemon.wait_until("it is noticed", |it| state(it, "127.0.0.2") == "unhealthy");
    assert_eq!(reached(), one("127.0.0.3"));
    let health = endpoint(&daemon, "127.0.0.2")["health"].clone();
    assert_eq!(health["usable"], false);
    assert!(
        health["reason"].as_str().unwrap().contains("refused"),
        "{health}"
    );
    assert!(health["since"].is_string(), "{health}");
    let log = daemon.log();
    assert!(log.contains("web: 127.0.0.2:8080 is unhealthy"), "{log}");
    let why = daemon.json(&["explain", "10.96.0.10:80"])["left_out"][0]["why"].clone();
    assert!(
        why.as_str()
            .unwrap()
            .starts_with("unhealthy: connection refused since 20"),
        "{why}"
    );
    let _near = Echo::tcp("127.0.0.2:8080");
    daemon.wait_until("it is noticed", |it| state(it, "127.0.0.2") == "healthy");
    assert_eq!(reached(), both());
}

#[test]
fn what_is_known_outlives_daemons_and_agents() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let _alive = Echo::tcp("127.0.0.2:9002");
    let mut daemon = Daemon::supervised_with_agent(PROGRAM, &host, &probed_elsewhere(""));
    daemon.wait_until("it is noticed", |it| state(it, "127.0.0.3") == "unhealthy");
    assert_eq!(reached(), one("127.0.0.2"));
    let since_of = |it: &Daemon| endpoint(it, "127.0.0.3")["health"]["since"].clone();
    let told = since_of(&daemon);
    assert_eq!(since_of(&daemon), told);

    // The next daemon knows it ahead of its first pass, and without an agent that answers.
    let agent = agent_pid(&daemon).expect("an agent");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert_eq!(reached(), one("127.0.0.2"));
    let ready = daemon.launch_again(&[]);
    let mut since = BTreeSet::new();
    daemon.wait_until("it is ready", |it| {
        since.extend(reached());
        it.times_ready() > ready
    });
    since.extend(reached());
    assert_eq!(since, one("127.0.0.2"));
    assert_eq!(state(&daemon, "127.0.0.3"), "unhealthy");
    assert_eq!(since_of(&daemon), told);

    // So does one that finds another file, and tables of its own.
    daemon.save(&probed_elsewhere("hostnames = [\"web.test\"]"));
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[("KMESH_LITE_LAYOUT", "99")]);
    assert_eq!(reached(), one("127.0.0.2"));

    // An agent that ends takes nothing with it, and the next one does not make anything of what it does not know.
    daemon.wait_until("another agent reports", |it| {
        agent_pid(it).is_some_and(|pid| pid != agent)
    });
    let agent = agent_pid(&daemon).unwrap();
    kill(Pid::from_raw(agent as i32), Signal::SIGKILL).unwrap();
    let mut since = BTreeSet::new();
    daemon.wait_until("another agent reports", |it| {
        since.extend(reached());
        agent_pid(it).is_some_and(|pid| pid != agent)
    });
    assert_eq!(since, one("127.0.0.2"));
    let _back = Echo::tcp("127.0.0.3:9003");
    daemon.wait_until("it is noticed", |it| state(it, "127.0.0.3") == "healthy");
    assert_eq!(reached(), both());
}

#[test]
fn while_all_are_down_connects_are_refused_or_go_on() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &probed_elsewhere(""));
    let down = |it: &mut Daemon| {
        state(it, "127.0.0.2") == "unhealthy" && state(it, "127.0.0.3") == "unhealthy"
    };
    daemon.wait_until("it is noticed", down);
    assert_eq!(reached(), one(&Errno::EHOSTUNREACH.to_string()));
    let monitored = |it: &Daemon| {
        let output = it.verb(&["status", "--exit-code"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        (output.status.code(), line)
    };
    let (code, line) = monitored(&daemon);
    assert_eq!(code, Some(2));
    assert!(line.ends_with("; all endpoints of web are down"), "{line}");
    assert_eq!(daemon.verb(&["status"]).status.code(), Some(0));
    for address in ["127.0.0.2", "127.0.0.3"] {
        assert!(daemon.verb(&["drain", address]).status.success());
    }
    assert_eq!(monitored(&daemon).0, Some(1), "they are meant to be");
    for address in ["127.0.0.2", "127.0.0.3"] {
        assert!(daemon.verb(&["ready", address]).status.success());
    }
    daemon.save(&probed_elsewhere("on_all_down = \"use-all\""));
    daemon.wait_until("the file is followed", |_| reached() == both());
    assert!(
        down(&mut daemon),
        "that they are used does not make them healthy"
    );
    let service = daemon.json(&["status"])["datapath"]["services"][0].clone();
    assert_eq!(
        (&service["uses_all"], &service["refuses"]),
        (&true.into(), &false.into())
    );
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    assert!(
        status.contains("all endpoints are down, and used nevertheless"),
        "{status}"
    );
    assert_eq!(monitored(&daemon).0, Some(1));
    let why = daemon.json(&["explain", "10.96.0.10:80"]);
    assert_eq!(why["uses_all"], true, "{why}");
    assert!(
        why["text"].as_str().unwrap().contains("which are down"),
        "{why}"
    );
    let down_why = why["candidates"][0]["down"].as_str();
    assert!(down_why.unwrap().starts_with("unhealthy"), "{why}");
    let _alive = Echo::tcp("127.0.0.3:9003");
    daemon.wait_until("one is used alone", |_| reached() == one("127.0.0.3"));
    assert_eq!(monitored(&daemon).0, Some(0));
}

#[test]
fn what_is_wanted_of_an_endpoint_that_is_gone_is_shown_and_can_be_taken_back() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let with = |endpoints: &str| {
        limited(&format!(
            "[services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\nendpoints = [{endpoints}]\n"
        ))
    };
    let (two, one) = (with("\"127.0.0.2\", \"127.0.0.3\""), with("\"127.0.0.3\""));
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&two));
    daemon.json(&["drain", "web/127.0.0.2"]);
    daemon.json(&["weight", "web/127.0.0.2", "7"]);
    let orders = |it: &Daemon, verb: &str| it.json(&[verb])["orders"].clone();
    for verb in ["status", "plan"] {
        let order = orders(&daemon, verb)[0].clone();
        assert_eq!(order["present"], true, "{verb}: {order}");
        assert_eq!(order["order"]["state"], "drain", "{verb}: {order}");
    }
    daemon.save(&one);
    daemon.wait_until("the endpoint is gone", |it| {
        orders(it, "status")[0]["present"] == false
    });
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    assert!(status.contains("not in the file"), "{status}");
    let plan = String::from_utf8(daemon.verb(&["plan"]).stdout).unwrap();
    assert!(
        plan.contains("endpoint 127.0.0.2, which the file does not have: drain, weight 7 by uid 0"),
        "{plan}"
    );

    // It cannot be given another order, but those that it has are taken back one by one.
    assert!(!daemon.verb(&["drain", "web/127.0.0.2"]).status.success());
    let back = daemon.json(&["ready", "web/127.0.0.2"])["endpoints"][0].clone();
    assert_eq!(
        (&back["absent"], &back["order"]["weight"]),
        (&true.into(), &7.into())
    );
    let back = daemon.json(&["weight", "web/127.0.0.2"])["endpoints"][0].clone();
    assert_eq!(
        (&back["absent"], &back["order"]),
        (&true.into(), &Value::Null)
    );
    assert_eq!(orders(&daemon, "status"), Value::Null);
    daemon.save(&two);
    daemon.wait_until("it is as the file says", |_| reached() == both());
}

#[test]
fn the_operator_takes_an_endpoint_out_of_service_and_gives_it_back() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let text = limited(
        "[services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\n\
         endpoints = [\"127.0.0.2\", \"db-1\"]\n[endpoints]\ndb-1.address = \"127.0.0.3\"\n",
    );
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&text));
    assert_eq!(reached(), both());
    let ordered = daemon.json(&["drain", "web/127.0.0.2"]);
    assert_eq!(
        ordered["endpoints"][0]["health"]["state"], "draining",
        "{ordered}"
    );
    assert_eq!(reached(), one("127.0.0.3"));
    let order = endpoint(&daemon, "127.0.0.2")["health"]["order"].clone();
    assert_eq!(
        (&order["state"], &order["uid"]),
        (&"drain".into(), &0.into())
    );
    assert!(
        daemon
            .log()
            .contains("on request, web/127.0.0.2 takes no new connections")
    );

    // It counts for the next daemon, too, also where nothing is left of this one in the kernel.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    daemon.forget_everything();
    daemon.start_again(&[]);
    assert_eq!(reached(), one("127.0.0.3"));

    // By the name of an entry, and for every service that has it.
    assert!(daemon.verb(&["ready", "127.0.0.2"]).status.success());
    assert_eq!(reached(), both());
    assert!(daemon.verb(&["maintenance", "web/db-1"]).status.success());
    assert_eq!(state(&daemon, "127.0.0.3"), "maintenance");
    assert_eq!(reached(), one("127.0.0.2"));
    assert!(daemon.verb(&["ready", "db-1"]).status.success());
    assert!(
        daemon
            .verb(&["weight", "web/127.0.0.2", "0"])
            .status
            .success()
    );
    assert_eq!(reached(), one("127.0.0.3"));
    assert_eq!(endpoint(&daemon, "127.0.0.2")["weight"], 0);
    assert!(daemon.verb(&["weight", "web/127.0.0.2"]).status.success());
    assert_eq!(reached(), both());

    for (meant, what) in [
        ("shop/127.0.0.2", "there is no service `shop`"),
        (
            "web/127.0.0.9",
            "the service `web` has no endpoint `127.0.0.9`",
        ),
        (
            "web/127.0.0.2:81",
            "the service `web` has no endpoint `127.0.0.2:81`",
        ),
        ("web/db-2", "`db-2` is neither an address nor the name"),
        ("127.0.0.9", "no service has the endpoint `127.0.0.9`"),
    ] {
        let output = daemon.verb(&["drain", meant]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(what), "{error}");
    }
}

/// Three connections to 127.0.0.2, and one or more to 127.0.0.3.
fn held() -> (Vec<Client>, Vec<Client>) {
    let (mut held, mut others) = (Vec::new(), Vec::new());
    while held.len() < 3 || others.is_empty() {
        let client = Client::tcp4();
        client.connect("10.96.0.10:80").unwrap();
        let is_it = client.greeting().ip() == address("127.0.0.2:8080").ip();
        match is_it {
            true if held.len() < 3 => held.push(client),
            true => {}
            false => others.push(client),
        }
    }
    (held, others)
}

#[test]
fn draining_leaves_open_connections_alone_and_waits_for_them() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh("")));
    let (held, _) = held();
    let output = daemon.verb(&["drain", "web/127.0.0.2", "--wait", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("3 connections are open"), "{text}");
    assert_eq!(reached(), one("127.0.0.3"));
    for client in &held {
        client.exchange("still here");
    }
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.verb(&["drain", "web/127.0.0.2", "--wait", "--json"]));
        drop(held);
        waiting.join().unwrap()
    });
    assert!(waiting.status.success());
    let lines = String::from_utf8_lossy(&waiting.stdout).into_owned();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["open_connections"], 0, "{lines}");
}

#[test]
fn waiting_for_a_draining_outlasts_the_daemon() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh("")));
    let (held, _) = held();
    let told = File::create(daemon.path("told")).unwrap();
    let mut waiting = Command::new(PROGRAM);
    waiting.args([
        "drain",
        "web/127.0.0.2",
        "--wait",
        "--timeout",
        "5m",
        "--socket",
    ]);
    waiting.arg(daemon.path("socket")).stderr(told);
    let mut waiting = ends_with_us(waiting.stdout(Stdio::null())).spawn().unwrap();
    daemon.wait_until("it is drained", |it| state(it, "127.0.0.2") == "draining");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert!(eventually(|| {
        let told = std::fs::read_to_string(daemon.path("told")).unwrap();
        told.contains("it is waited for")
    }));
    daemon.start_again(&[]);
    drop(held);
    assert!(waiting.wait().unwrap().success());
}

#[test]
fn connections_that_outlast_the_draining_are_ended_and_no_others() {
    let Some(host) = Host::new() else { return };
    let _servers = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("127.0.0.3:8080")];
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh("")));
    let (held, others) = held();
    let verb = ["drain", "web/127.0.0.2", "--wait", "--kill-after", "1s"];
    let output = daemon.verb(&verb);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("3 connections were ended"), "{text}");
    assert!(text.contains("no connection is open"), "{text}");
    for client in &held {
        let error = client.socket().read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ECONNABORTED as i32));
    }
    for client in &others {
        client.exchange("still here\n");
    }
    assert!(daemon.log().contains("web/127.0.0.2 lost 3 connections"));
}

/// Shares of two zones in many connects that wait no longer than a moment: near, far, and what failed.
fn shares() -> (usize, usize, usize) {
    let mut counts = (0, 0, 0);
    for _ in 0..100 {
        match call("10.96.0.10:80") {
            Ok(reached) if reached.to_string().starts_with("10.50.1.") => counts.0 += 1,
            Ok(_) => counts.1 += 1,
            Err(_) => counts.2 += 1,
        }
    }
    counts
}

/// What is to go on for as long as this lives. A scope waits for its threads when a test fails, too.
struct EndsWithUs<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for EndsWithUs<'_> {
    fn drop(&mut self) {
        self.0.store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn a_zone_that_is_unplugged_is_left_and_comes_back_slowly_as_was_foretold() {
    let Some(host) = Host::new() else { return };
    let (near, far) = (Zone::new(1), Zone::new(2));
    let serve = |zone: &Zone, at: &'static str| zone.inside(move || Echo::tcp(at));
    let _servers = [
        serve(&near, "10.50.1.2:8080"),
        serve(&near, "10.50.1.3:8080"),
        serve(&far, "10.50.2.2:8080"),
    ];
    let text = |slow_start: &str| {
        limited(&format!(
            "[node]\nlocality = \"eu/a\"\n\
         [health]\ncheck = \"tcp\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 3\n\
         [services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\npolicy = \"failover\"\n\
         overprovision = 1.4\nslow_start = \"{slow_start}\"\n\
         endpoints = [{{ address = \"10.50.1.2\", locality = \"eu/a\" }},\
         {{ address = \"10.50.1.3\", locality = \"eu/a\" }}, {{ address = \"10.50.2.2\", locality = \"eu/b\" }}]\n",
        ))
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text("10m"));
    daemon.wait_until("all are known", |it| {
        ["10.50.1.2", "10.50.1.3", "10.50.2.2"]
            .iter()
            .all(|address| state(it, address) == "healthy")
    });
    assert_eq!(shares(), (100, 0, 0));

    let foretold = daemon.json(&["simulate", "--down", "zone=a"]);
    let web = &foretold["services"][0];
    let shares_then: Vec<_> = web["endpoints"].as_array().unwrap().iter().collect();
    let then = |number: usize| shares_then[number]["share_then"].as_f64().unwrap();
    assert_eq!((then(0), then(1), then(2)), (0.0, 0.0, 1.0), "{foretold}");

    // Under load, of which nobody waits for an answer that will not come.
    let load = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let load = &load;
        let client = scope.spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut begun = 0;
            while load.load(std::sync::atomic::Ordering::SeqCst) {
                let client = Client::tcp4();
                let _ = client.connect_at_once("10.96.0.10:80");
                begun += 1;
                std::thread::yield_now();
            }
            begun
        });
        let load = EndsWithUs(load);
        near.unplug();
        daemon.wait_until("both are left", |it| {
            state(it, "10.50.1.2") == "unhealthy" && state(it, "10.50.1.3") == "unhealthy"
        });
        assert_eq!(shares(), (0, 100, 0));
        near.plug();
        daemon.wait_until("both are back", |it| {
            state(it, "10.50.1.2") == "healthy" && state(it, "10.50.1.3") == "healthy"
        });
        // A tenth of their weight, times 1.4.
        let (first, rest, failed) = shares();
        assert!(
            first < 50 && rest > 50 && failed == 0,
            "{first} {rest} {failed}"
        );
        // What is left of a shorter time is over.
        daemon.save(&text("100ms"));
        daemon.wait_until("they have all of their share", |_| {
            let (near, far, failed) = shares();
            assert_eq!(failed, 0);
            near == 100 && far == 0
        });
        drop(load);
        assert!(client.join().unwrap() > 0);
    });
}

#[test]
fn an_endpoint_that_connects_fail_at_is_ejected_without_any_probe() {
    let Some(host) = Host::new() else { return };
    let _server = Echo::tcp("127.0.0.2:8080");
    let text = limited(
        "[services.web]\nvips = [\"10.96.0.10\"]\nports = [\"80:8080\"]\n\
         health = { eject_after = 3, eject_for = \"10m\" }\n\
         endpoints = [\"127.0.0.2\", \"127.0.0.3\"]\n",
    );
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&text));
    assert!(reached().len() == 2, "one of them refuses");
    daemon.wait_until("it is ejected", |it| {
        reached();
        endpoint(it, "127.0.0.3")["health"]["state"] == "ejected"
    });
    assert_eq!(reached(), one("127.0.0.2"));
    let reason = endpoint(&daemon, "127.0.0.3")["health"]["reason"].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .contains("connects in a row failed"),
        "{reason}"
    );
}
