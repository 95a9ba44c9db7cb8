//! Who may reach what, as the verbs tell it, and a closed mesh out of what was seen.

use crate::PROGRAM;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, Reached, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Output;

const WEB: &str = "10.96.0.10:80";
const DB: &str = "10.96.0.11:80";

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.db]
    vips = ["10.96.0.11"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.3"]

    [services.unused]
    vips = ["10.96.0.12"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.4"]
"#;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Units, as systemd would have them: those of the first two are of templates and run as often as they are named.
struct Units(Vec<Cgroup>);

impl Units {
    fn of(host: &Host, names: &[&str]) -> Self {
        let unit = |name: &&str| host.cgroup.child(name).expect("a cgroup");
        Self(names.iter().map(unit).collect())
    }

    fn call(&self, unit: usize, to: &str) -> Reached {
        self.0[unit].run(|| call(to)).expect("inside")
    }
}

/// `from -> to verdict policy` of each pair.
fn pairs(said: &Value) -> BTreeSet<String> {
    let pairs = said["outbound"].as_array().expect("pairs").iter();
    let word = |pair: &Value, key: &str| pair[key].as_str().unwrap_or("-").to_owned();
    pairs
        .map(|it| {
            let [from, to, verdict, policy] =
                ["from", "to", "verdict", "policy"].map(|key| word(it, key));
            format!("{from} -> {to} {verdict} {policy}")
        })
        .collect()
}

#[test]
fn a_closed_mesh_is_made_of_what_was_seen() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&limited(MESH)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let names = [
        "seen-shop.service",
        "seen-job@1.service",
        "seen-job@2.service",
        "seen-batch.service",
    ];
    let units = Units::of(&host, &names);
    let seen = [(0, WEB), (0, DB), (1, WEB), (2, WEB), (3, DB)];
    for (unit, to) in seen {
        units.call(unit, to).expect("a server");
    }
    // A suggestion counts first what it would refuse.
    let audit = daemon.verb(&["policies", "suggest"]);
    assert!(audit.status.success(), "{}", complaint(&audit));
    assert!(
        text(&audit).contains("mode = \"audit\""),
        "{}",
        text(&audit)
    );
    // The next process knows it as well.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    let said = daemon.json(&["policies", "suggest", "--since", "1h"]);
    let clients = |service: &str| -> BTreeSet<String> {
        let policies = said["policies"].as_array().expect("policies").iter();
        let mut of = policies.filter(|it| it["services"][0] == service);
        let clients = of.next().expect("a policy")["clients"]
            .as_array()
            .expect("clients");
        clients
            .iter()
            .map(|it| it["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let set = |names: &[&str]| {
        names
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        clients("web"),
        set(&["seen-shop.service", "seen-job@*.service"])
    );
    assert_eq!(
        clients("db"),
        set(&["seen-shop.service", "seen-batch.service"])
    );
    assert_eq!(said["unused"], serde_json::json!(["unused"]));
    // As it is, beside the file.
    let enforced = text(&daemon.verb(&["policies", "suggest", "--enforce"]));
    fs::create_dir(daemon.path("mesh.d")).expect("a folder");
    fs::write(daemon.path("mesh.d/90-seen.toml"), &enforced).expect("a drop-in");
    let file = daemon.path("mesh.toml").display().to_string();
    let checked = std::process::Command::new(PROGRAM)
        .args(["check", &file])
        .output();
    let checked = checked.expect("a verb");
    assert!(
        checked.status.success(),
        "{}{enforced}",
        complaint(&checked)
    );
    let reloaded = daemon.verb(&["reload"]);
    assert!(reloaded.status.success(), "{}", complaint(&reloaded));
    for (unit, name) in names.iter().enumerate() {
        for to in [WEB, DB] {
            match seen.contains(&(unit, to)) {
                true => assert!(units.call(unit, to).is_ok(), "{name} to {to}"),
                false => assert_eq!(units.call(unit, to), Err(Errno::EACCES), "{name}"),
            }
        }
    }
    assert_eq!(call(WEB), Err(Errno::EACCES), "somebody else");
    assert_eq!(call("10.96.0.12:80"), Ok(address("127.0.0.4:8080")));
    // Instances that are to come, too.
    let next = Units::of(&host, &["seen-job@3.service"]);
    daemon.wait_until("the next instance counts", |_| next.call(0, WEB).is_ok());
}

#[test]
fn who_may_reach_what_is_told_as_the_kernel_decides_it() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let units = Units::of(&host, &["who-shop.service", "who-batch.service"]);
    let policies = r#"
        [policies.web-in]
        action = "allow"
        services = ["web"]
        clients = ["who-shop.service", "who-later.service"]
        [policies.no-batch]
        action = "deny"
        services = ["db"]
        clients = ["who-batch.service"]
        mode = "audit"
    "#;
    let daemon = Daemon::start(
        PROGRAM,
        &host,
        Some(&limited(&(MESH.to_owned() + policies))),
    );
    assert!(units.call(0, WEB).is_ok());
    assert_eq!(units.call(1, WEB), Err(Errno::EACCES));
    assert!(units.call(1, DB).is_ok());
    let expected = [
        "* -> db allowed -",
        "* -> web denied web-in",
        "who-batch.service -> db audited no-batch",
        "who-batch.service -> web denied web-in",
        "who-later.service -> db allowed -",
        "who-later.service -> web allowed web-in",
        "who-shop.service -> db allowed -",
        "who-shop.service -> web allowed web-in",
    ];
    let said = daemon.json(&["policies"]);
    let expected: BTreeSet<_> = expected.map(str::to_owned).into();
    assert_eq!(pairs(&said), expected, "{said:#}");
    assert_eq!(said["open"], serde_json::json!(["unused"]));
    let one = daemon.json(&["policies", "no-batch"]);
    assert_eq!(one["policies"][0]["refused"], 1, "{one:#}");
    let wrong = daemon.verb(&["policies", "web-inn"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        complaint(&wrong).contains("did you mean `web-in`?"),
        "{}",
        complaint(&wrong)
    );
    let words = text(&daemon.verb(&["policies"]));
    assert!(words.contains("would be denied by no-batch"), "{words}");
}

#[test]
fn without_a_daemon_the_kernel_tells_of_policies() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let policy = "[policies.nobody]\naction = 'deny'\nservices = ['web']\nclients = ['*']\n";
    let mesh = limited(&format!("{MESH}{policy}"));
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    assert_eq!(call(WEB), Err(Errno::EACCES));
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let said = daemon.json(&["policies"]);
    assert_eq!(said["policies"][0]["name"], "nobody", "{said:#}");
    assert_eq!(said["policies"][0]["refused"], 1, "{said:#}");
    assert!(pairs(&said).contains("* -> web denied nobody"), "{said:#}");
}

#[test]
fn a_plan_tells_which_open_connections_a_change_would_refuse() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let units = Units::of(&host, &["plan-shop.service", "plan-batch.service"]);
    let daemon = Daemon::start(PROGRAM, &host, Some(&limited(MESH)));
    let open = |unit: usize| {
        let client = Client::tcp4();
        let connected = units.0[unit].run(|| client.connect(WEB));
        connected.expect("inside").expect("a server");
        client
    };
    // The socket was made outside, but who connects is whoever calls connect().
    let _stay = [open(0), open(1), open(1)];
    let policy = "policies.web-in = { action = 'allow', services = ['web'], clients = ['plan-shop.service'] }\n";
    // Beside the daemon's own file, which it would follow.
    let next = daemon.path("next.toml");
    fs::write(&next, format!("{policy}{}", limited(MESH))).expect("a file");
    let next = next.display().to_string();
    let plan = daemon.json(&["plan", &next]);
    let denied = plan["denied"].as_array().expect("denials");
    assert_eq!(denied.len(), 1, "{plan:#}");
    assert_eq!(denied[0]["policy"], "web-in");
    assert_eq!(denied[0]["open_connections"], 2);
    assert_eq!(denied[0]["connections"][0]["from"], "plan-batch.service");
    let words = text(&daemon.verb(&["plan", &next]));
    let expected = "policy web-in would refuse 2 open connections of now, which go on";
    assert!(words.contains(expected), "{words}");
}

#[test]
fn what_a_policy_refuses_or_would_is_in_the_log_and_can_be_chosen() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, None);
    let path = daemon.path("access.json");
    let policies = format!(
        "[access_log]\nto = {path:?}\n\
         [policies.no-web]\naction = 'deny'\nservices = ['web']\nclients = ['*']\n\
         [policies.no-db]\naction = 'deny'\nservices = ['db']\nclients = ['*']\nmode = 'audit'\n"
    );
    daemon.save(&limited(&format!("{MESH}{policies}")));
    daemon.wait_until("the log is there", |_| path.exists());
    // Answered when the pass is over, and programs tell.
    let _before = daemon.json(&["status"]);
    assert_eq!(call(WEB), Err(Errno::EACCES));
    assert!(call(DB).is_ok());
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&path).expect("the log");
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|it: &Value| it["policy"].is_string())
            .collect()
    };
    daemon.wait_until("both are in the log", |_| lines().len() >= 2);
    let told = |policy: &str| {
        let lines = lines();
        let line = lines.iter().find(|it| it["policy"] == policy);
        line.expect("a line")["event"].clone()
    };
    assert_eq!(
        (told("no-web"), told("no-db")),
        ("rejected".into(), "decided".into())
    );
    let status = daemon.json(&["status"]);
    let policies = status["datapath"]["policies"].as_array().expect("policies");
    for policy in policies {
        assert_eq!(policy["connects"], 1, "{policy:#}");
        assert!(policy["last"].is_string(), "{policy:#}");
    }
}

/// A connection from an address of this host.
fn connect_from(source: &str, to: &str) -> Result<Client, Errno> {
    let client = Client::tcp4();
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    client
        .socket()
        .bind(&source.into())
        .expect("its own address");
    client.connect(to).map(|()| client)
}

/// Where connections to a service came from, as it is suggested to let them in.
fn sources_of(said: &Value, service: &str) -> Vec<String> {
    let policies = said["policies"].as_array().expect("policies").iter();
    let of_service = policies.filter(|it| it["services"][0] == service);
    let sources = of_service.flat_map(|it| it["from"].as_array().into_iter().flatten());
    let names = sources.map(|it| it["name"].as_str().expect("a name").to_owned());
    names.collect()
}

#[test]
fn a_closed_mesh_lets_in_what_was_seen_to_arrive() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    host.add(&["10.9.0.1", "10.9.0.2", "10.9.0.3"]);
    // The first address is that of an endpoint, and stands for its service.
    let near =
        "[services.near]\nvips = ['10.96.0.13']\nports = ['80:8080']\nendpoints = ['10.9.0.1']\n";
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&limited(&format!("{MESH}{near}"))));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let seen = [("10.9.0.1", WEB), ("10.9.0.2", WEB), ("10.9.0.2", DB)];
    let stay = seen.map(|(source, to)| connect_from(source, to).expect("a server"));
    // A connect is over before the kernel has told the server's side of it.
    daemon.wait_until("all that arrived is seen", |daemon| {
        let said = daemon.json(&["policies", "suggest"]);
        let sources = |service| sources_of(&said, service);
        sources("web") == ["10.9.0.2", "service:near"] && sources("db") == ["10.9.0.2"]
    });
    drop(stay);
    let enforced = text(&daemon.verb(&["policies", "suggest", "--enforce"]));
    fs::create_dir(daemon.path("mesh.d")).expect("a folder");
    fs::write(daemon.path("mesh.d/90-seen.toml"), &enforced).expect("a drop-in");
    let reloaded = daemon.verb(&["reload"]);
    assert!(
        reloaded.status.success(),
        "{}{enforced}",
        complaint(&reloaded)
    );
    for source in ["10.9.0.1", "10.9.0.2", "10.9.0.3"] {
        for to in [WEB, DB] {
            let reached = connect_from(source, to).map(|_| ());
            match seen.contains(&(source, to)) {
                true => assert_eq!(reached, Ok(()), "{source} to {to}"),
                false => assert_eq!(reached, Err(Errno::ECONNREFUSED), "{source} to {to}"),
            }
        }
    }
    let said = daemon.json(&["policies"]);
    let inbound = said["inbound"].as_array().expect("pairs").iter();
    let of_db = inbound.filter(|it| it["from"] == "service:near" && it["to"] == "db");
    let verdicts: Vec<_> = of_db
        .map(|it| it["verdict"].as_str().expect("a verdict"))
        .collect();
    assert_eq!(verdicts, ["denied"], "{said:#}");
}
