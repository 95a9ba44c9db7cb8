//! Endpoints by name: a real daemon, its agent, and a DNS server whose answers change.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::require;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;

/// A service at 10.96.0.10:80 whose endpoints have names.
fn mesh(endpoints: &str) -> String {
    limited(&format!(
        "[dns]\nresolvers = \"{}\"\nttl_min = \"100ms\"\nttl_max = \"200ms\"\n\
         [services.web]\nvips = [\"10.96.0.10\", \"fd00:96::10\"]\nports = [\"80:8080\"]\n\
         endpoints = [{endpoints}]\n",
        Dnsmasq::AT
    ))
}

const DB: &str = "{ dns = \"db.internal\" }";

/// A host, where there is a DNS server.
fn host() -> Option<Host> {
    let host = Host::new()?;
    require::programs(&["dnsmasq"]).then_some(host)
}

/// Where connects to an address end.
fn reached_at(at: &str) -> BTreeSet<String> {
    let once = || loop {
        match call(at) {
            Ok(reached) => break reached.to_string(),
            // That a daemon of ours has ended is a signal.
            Err(Errno::EINTR) => {}
            Err(errno) => break errno.to_string(),
        }
    };
    let reached = (0..60).map(|_| once());
    reached.collect()
}

fn reached() -> BTreeSet<String> {
    reached_at("10.96.0.10:80")
}

fn at(sockets: &[&str]) -> BTreeSet<String> {
    sockets.iter().map(|it| (*it).to_owned()).collect()
}

/// The status of a name.
fn name(daemon: &Daemon, wanted: &str) -> Value {
    let status = daemon.json(&["status"]);
    let mut names = status["names"].as_array().expect("names").iter();
    names
        .find(|it| it["name"] == wanted)
        .unwrap_or_else(|| panic!("no {wanted} in {status}"))
        .clone()
}

fn endpoints(daemon: &Daemon) -> Vec<Value> {
    let status = daemon.json(&["status"]);
    let services = status["datapath"]["services"].as_array().unwrap().iter();
    let priorities = services.flat_map(|it| it["priorities"].as_array().unwrap());
    let endpoints = priorities.flat_map(|it| it["endpoints"].as_array().unwrap());
    endpoints.cloned().collect()
}

fn fails(name: &Value, with: &str) -> bool {
    let error = name["error"].as_str();
    error.is_some_and(|error| error.contains(with))
}

#[test]
fn connects_follow_what_a_name_stands_for_and_connections_stay() {
    let Some(host) = host() else { return };
    let _servers = ["127.0.0.2:8080", "127.0.0.3:8080"].map(Echo::tcp);
    let dns = Dnsmasq::start("127.0.0.2 db.internal\n", &[]);
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(DB));
    let (first, second) = ("127.0.0.2:8080", "127.0.0.3:8080");
    daemon.wait_until("it has resolved", |_| reached() == at(&[first]));
    let held = Client::tcp4();
    held.connect("10.96.0.10:80").unwrap();
    held.greeting();

    dns.hosts("127.0.0.2 db.internal\n127.0.0.3 db.internal\n");
    daemon.wait_until("both are there", |_| reached() == at(&[first, second]));
    dns.hosts("127.0.0.3 db.internal\n");
    daemon.wait_until("one is gone", |_| reached() == at(&[second]));
    held.exchange("still here\n");
    let state = name(&daemon, "db.internal");
    assert_eq!(
        state["addresses"],
        serde_json::json!(["127.0.0.3"]),
        "{state}"
    );
    assert_eq!(state["services"], serde_json::json!(["web"]), "{state}");
    assert_eq!(state["error"], Value::Null, "{state}");
    assert_eq!(endpoints(&daemon)[0]["dns"], "db.internal");
    let explained = daemon.json(&["explain", "10.96.0.10:80"]);
    assert_eq!(
        explained["candidates"][0]["dns"], "db.internal",
        "{explained}"
    );

    // A word of the operator is about all addresses of a name, or about one.
    assert!(daemon.verb(&["drain", "web/db.internal"]).status.success());
    assert_eq!(reached(), at(&[&Errno::EHOSTUNREACH.to_string()]));
    assert!(
        daemon
            .verb(&["ready", "web/db.internal@127.0.0.3"])
            .status
            .success()
    );
    assert_eq!(reached(), at(&[second]));
    // Also about those that it will have.
    dns.hosts("127.0.0.2 db.internal\n127.0.0.3 db.internal\n");
    daemon.wait_until("both are known", |it| {
        name(it, "db.internal")["addresses"] == serde_json::json!(["127.0.0.2", "127.0.0.3"])
    });
    assert_eq!(reached(), at(&[second]));
    assert!(daemon.verb(&["ready", "web/db.internal"]).status.success());
    assert_eq!(reached(), at(&[first, second]));

    // Nothing of the mesh is an endpoint of the mesh.
    dns.hosts("10.96.0.10 db.internal\n224.0.0.1 db.internal\n127.0.0.2 db.internal\n");
    daemon.wait_until("one is used", |_| reached() == at(&[first]));
    let refused = name(&daemon, "db.internal")["refused"].to_string();
    assert!(
        refused.contains("10.96.0.10") && refused.contains("224.0.0.1"),
        "{refused}"
    );

    // That a name is gone takes no service down.
    dns.hosts("");
    daemon.wait_until("it is said", |it| {
        fails(&name(it, "db.internal"), "NXDOMAIN")
    });
    assert_eq!(reached(), at(&[first]));
    let text = daemon.verb(&["status"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("the last answer stays"), "{text}");
}

#[test]
fn the_last_answer_outlives_the_resolver_the_agent_and_the_daemon() {
    let Some(host) = host() else { return };
    let _servers = ["127.0.0.2:8080", "127.0.0.3:8080"].map(Echo::tcp);
    let mut dns = Dnsmasq::start("127.0.0.2 db.internal\n", &[]);
    let mut daemon = Daemon::supervised_with_agent(PROGRAM, &host, &mesh(DB));
    let first = at(&["127.0.0.2:8080"]);
    daemon.wait_until("it has resolved", |_| reached() == first);

    dns.end();
    daemon.wait_until("it is said", |it| {
        name(it, "db.internal")["failing_since"].is_string()
    });
    let since = name(&daemon, "db.internal")["failing_since"].clone();
    assert_eq!(reached(), first);

    // The next daemon knows it ahead of its first pass, and the next agent makes nothing of what it does not know.
    let agent = daemon.json(&["status"])["agent"]["pid"]
        .as_i64()
        .expect("an agent");
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let ready = daemon.launch_again(&[]);
    let mut meanwhile = BTreeSet::new();
    daemon.wait_until("it is ready", |it| {
        meanwhile.extend(reached());
        it.times_ready() > ready
    });
    // Also one that has tables of its own.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[("KMESH_LITE_LAYOUT", "99")]);
    meanwhile.extend(reached());
    let mut agent = agent;
    for _ in 0..2 {
        daemon.wait_until("another agent reports", |it| {
            meanwhile.extend(reached());
            let pid = it.json(&["status"])["agent"]["pid"].as_i64();
            pid.is_some_and(|pid| pid != agent)
        });
        agent = daemon.json(&["status"])["agent"]["pid"].as_i64().unwrap();
        kill(Pid::from_raw(agent as i32), Signal::SIGKILL).unwrap();
    }
    meanwhile.extend(reached());
    assert_eq!(meanwhile, first);
    let state = name(&daemon, "db.internal");
    assert_eq!(
        state["addresses"],
        serde_json::json!(["127.0.0.2"]),
        "{state}"
    );
    // To the second: two clocks are put together.
    let begin = |time: &Value| time.as_str().unwrap()[..16].to_owned();
    assert_eq!(begin(&state["failing_since"]), begin(&since), "{state}");

    dns.start_again("127.0.0.3 db.internal\n");
    daemon.wait_until("it is followed", |_| reached() == at(&["127.0.0.3:8080"]));
    assert_eq!(name(&daemon, "db.internal")["error"], Value::Null);
}

#[test]
fn both_families_and_srv_records_are_endpoints_that_are_checked_as_any() {
    let Some(host) = host() else { return };
    host.add(&["fd00:50::2"]);
    let _servers = ["127.0.0.2:8080", "[fd00:50::2]:8080"].map(Echo::tcp);
    let near = Echo::tcp("127.0.0.2:8081");
    let _far = Echo::tcp("127.0.0.3:8082");
    let hosts =
        "127.0.0.2 db.internal one.internal\nfd00:50::2 db.internal\n127.0.0.3 two.internal\n";
    let srv = [
        "--srv-host=_web._tcp.internal,one.internal,8081,10,5",
        "--srv-host=_web._tcp.internal,two.internal,8082,20,5",
    ];
    let dns = Dnsmasq::start(hosts, &srv);
    let text = format!(
        "{}\n[services.srv]\nvips = [\"10.96.0.11\"]\nports = [80]\n\
         endpoints = [\"web\"]\n\
         health = {{ check = \"tcp\", interval = \"200ms\", rise = 1, fall = 1 }}\n\
         [endpoints]\nweb = {{ dns = \"_web._tcp.internal\", srv = true }}\n",
        mesh(DB)
    );
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text);
    daemon.wait_until("both families are there", |_| {
        reached() == at(&["127.0.0.2:8080"])
            && reached_at("[fd00:96::10]:80") == at(&["[fd00:50::2]:8080"])
    });
    daemon.wait_until("SRV records are there", |_| {
        reached_at("10.96.0.11:80") == at(&["127.0.0.2:8081"])
    });
    let far = |daemon: &Daemon| {
        let endpoints = endpoints(daemon).into_iter();
        let mut far = endpoints.filter(|it| it["address"] == "127.0.0.3");
        far.next().expect("the one of priority 20")
    };
    assert_eq!(far(&daemon)["health"]["state"], "standby");
    let explained = daemon.json(&["explain", "10.96.0.11:80"]);
    let why = explained["left_out"][0]["why"].to_string();
    assert!(why.contains("priority 20"), "{explained}");

    // The records of the next priority take over while none of the first is healthy.
    drop(near);
    daemon.wait_until("the next one is used", |_| {
        reached_at("10.96.0.11:80") == at(&["127.0.0.3:8082"])
    });
    let _near = Echo::tcp("127.0.0.2:8081");
    daemon.wait_until("the first one is back", |_| {
        reached_at("10.96.0.11:80") == at(&["127.0.0.2:8081"])
    });

    // A host that is gone while its record stays may be a slip in the zone. It is said, and serves on.
    dns.hosts("127.0.0.2 db.internal\n127.0.0.3 two.internal\n");
    daemon.wait_until("it is said", |it| {
        fails(&name(it, "_web._tcp.internal"), "its host one.internal: ")
    });
    let state = name(&daemon, "_web._tcp.internal");
    assert_eq!(state["in_part"], true, "{state}");
    assert_eq!(
        state["addresses"].as_array().map(Vec::len),
        Some(2),
        "{state}"
    );
    assert_eq!(reached_at("10.96.0.11:80"), at(&["127.0.0.2:8081"]));
    let text = daemon.verb(&["status"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("not answered in full since"), "{text}");
    let log = daemon.log();
    assert!(log.contains("is not answered in full"), "{log}");
    dns.hosts(hosts);
    daemon.wait_until("it is whole", |it| {
        name(it, "_web._tcp.internal")["error"] == Value::Null
    });
    assert!(daemon.verb(&["drain", "srv/web"]).status.success());
    assert_eq!(
        reached_at("10.96.0.11:80"),
        at(&[&Errno::EHOSTUNREACH.to_string()])
    );
}

#[test]
fn a_name_that_has_not_resolved_is_said_everywhere() {
    let Some(host) = Host::new() else { return };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(DB));
    daemon.wait_until("it is said", |it| {
        fails(&name(it, "db.internal"), "127.0.0.1:5300 cannot be asked")
    });
    assert_eq!(reached(), at(&[&Errno::EHOSTUNREACH.to_string()]));
    let explained = daemon.json(&["explain", "10.96.0.10:80"]);
    let left_out = &explained["left_out"][0];
    assert_eq!(left_out["endpoint"], "db.internal", "{explained}");
    let why = left_out["why"].as_str().unwrap();
    assert!(why.starts_with("it has not resolved: "), "{why}");
    let text = daemon.verb(&["status"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("has not resolved: "), "{text}");
    let log = daemon.log();
    assert!(
        log.contains("web: db.internal (A) has not resolved"),
        "{log}"
    );
    // Somebody who answers in a way that is no answer is no help.
    let _garbage = Echo::udp(Dnsmasq::AT);
    daemon.wait_until("it is said", |it| {
        fails(&name(it, "db.internal"), "does not answer")
    });
    daemon.save(&mesh("\"127.0.0.2\""));
    daemon.wait_until("nothing is asked", |it| {
        it.json(&["status"]).get("names").is_none()
    });
}

#[test]
fn a_resolver_that_is_a_service_of_the_mesh_is_not_asked_through_it() {
    let Some(host) = host() else { return };
    let _dns = Dnsmasq::start("127.0.0.2 db.internal\n", &[]);
    let text = mesh(DB).replace(Dnsmasq::AT, "10.96.0.53:5353");
    let text = format!(
        "{text}\n[services.dns]\nvips = [\"10.96.0.53\"]\nports = [\"5353:5300/udp\"]\n\
         endpoints = [\"127.0.0.1\"]\n"
    );
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text);
    daemon.wait_until("it is said", |it| {
        fails(&name(it, "db.internal"), "10.96.0.53:5353 ")
    });
    let checked = daemon.verb(&["reload"]);
    let told = String::from_utf8_lossy(&checked.stdout).into_owned()
        + &String::from_utf8_lossy(&checked.stderr);
    assert!(told.contains("questions to it skip the mesh"), "{told}");
}
