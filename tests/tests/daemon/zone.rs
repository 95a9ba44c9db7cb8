//! The names of the mesh, as a real daemon gives them to an agent, which is played here.

use crate::PROGRAM;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::host::{Host, limited};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::Command;
use std::thread;

const LISTEN: &str =
    "[dns]\nlisten = [\"127.0.0.1:5353\", \"[::1]:5353\"]\nupstreams = \"10.0.0.53:53\"\n";

fn mesh(more: &str) -> String {
    limited(&format!(
        "{LISTEN}[services.web]\nvips = [\"auto\"]\nhostnames = [\"web.example\"]\nports = [80]\nendpoints = [\"127.0.0.2\"]\n\
         [services.db]\nheadless = true\nvips = [\"10.96.0.11\"]\nports = [5432]\nendpoints = [\"db-1\", \"127.0.0.4\"]\n\
         [endpoints]\ndb-1 = {{ address = \"127.0.0.3\" }}\n{more}"
    ))
}

/// A request to the control socket: the status, and the body.
fn curl(daemon: &Daemon, path: &str, body: Option<&Value>) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "60", "-w", "\n%{http_code}", "--unix-socket"]);
    command.arg(daemon.path("socket"));
    if let Some(body) = body {
        command.args(["--data-binary", &body.to_string()]);
    }
    let output = command
        .arg(format!("http://localhost{path}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = curl(daemon, path, None);
    assert_eq!(status, "200", "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn zone(daemon: &Daemon, since: Option<u64>) -> Value {
    get(
        daemon,
        &match since {
            Some(since) => format!("/v1/agent/zone?since={since}"),
            None => "/v1/agent/zone".to_owned(),
        },
    )
}

fn revision(zone: &Value) -> u64 {
    zone["revision"].as_u64().unwrap()
}

fn names(zone: &Value) -> Vec<&String> {
    zone["names"].as_object().unwrap().keys().collect()
}

#[test]
fn an_agent_is_told_the_names_and_only_those_that_change() {
    let Some(host) = Host::new() else { return };
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh("")));
    let duties = get(&daemon, "/v1/agent");
    assert_eq!(
        duties["dns"],
        json!({
            "listen": ["127.0.0.1:5353", "[::1]:5353"], "domain": "mesh", "ttl_ms": 5000, "negative_ttl_ms": 5000,
            "upstreams": ["10.0.0.53:53"], "order": "in-order", "timeout_ms": 2000, "attempts": 2, "cache": 10000, "capture": false, "trace": false,
        })
    );
    let whole = zone(&daemon, None);
    assert_eq!(whole["since"], Value::Null);
    let addresses = &whole["names"]["web.mesh"]["addresses"];
    assert_eq!(
        addresses[0].as_array().unwrap().len(),
        2,
        "one of each family"
    );
    assert_eq!(whole["names"]["web.example"]["addresses"], *addresses);
    assert_eq!(
        whole["names"]["db.mesh"]["addresses"],
        json!([["127.0.0.3", "127.0.0.4"]])
    );
    assert_eq!(
        whole["names"]["db-1.db.mesh"]["addresses"],
        json!([["127.0.0.3"]])
    );
    assert_eq!(
        whole["names"]["11.0.96.10.in-addr.arpa"]["pointer"],
        "db.mesh"
    );

    // An endpoint that takes no new connections goes out of its service's names, and nothing else is told.
    let known = revision(&whole);
    let next = thread::scope(|scope| {
        let waiting = scope.spawn(|| zone(&daemon, Some(known)));
        assert!(daemon.verb(&["drain", "db/db-1"]).status.success());
        waiting.join().unwrap()
    });
    assert_eq!(next["since"], known);
    assert_eq!(names(&next), ["_5432._tcp.db.mesh", "db.mesh"]);
    assert_eq!(
        next["names"]["db.mesh"]["addresses"],
        json!([["127.0.0.4"]])
    );

    // So with a file: what is gone has nothing, what is new is there, at one revision.
    let known = revision(&next);
    let next = thread::scope(|scope| {
        let waiting = scope.spawn(|| zone(&daemon, Some(known)));
        let text = mesh(
            "[services.new]\nvips = [\"10.96.0.12\"]\nports = [80]\nendpoints = [\"127.0.0.5\"]\n",
        );
        daemon.save(&text.replace("web.example", "shop.example"));
        waiting.join().unwrap()
    });
    let expected = [
        "12.0.96.10.in-addr.arpa",
        "_80._tcp.new.mesh",
        "_80._tcp.shop.example",
        "_80._tcp.web.example",
        "new.mesh",
        "shop.example",
        "web.example",
    ];
    assert_eq!(names(&next), expected);
    assert_eq!(next["names"]["web.example"], Value::Null);
    assert_eq!(next["names"]["shop.example"]["addresses"], *addresses);
}

#[test]
fn an_agent_of_an_earlier_daemon_is_told_everything_again() {
    let Some(host) = Host::new() else { return };
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh("")));
    let before = zone(&daemon, None);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.start_again(&[]);
    let after = zone(&daemon, Some(revision(&before)));
    assert_eq!(after["since"], Value::Null);
    assert_ne!(after["revision"], before["revision"]);
    assert_eq!(
        after["names"], before["names"],
        "automatic addresses as well"
    );
}

#[test]
fn status_explain_and_metrics_tell_of_the_names() {
    let Some(host) = Host::new() else { return };
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh("")));
    let dns = || daemon.json(&["status"])["dns"].clone();
    assert_eq!(dns()["domain"], "mesh");
    assert_eq!(dns()["behind"], true);
    let known = revision(&zone(&daemon, None));
    let report = json!({
        "zone": known, "cached": 3,
        "listeners": [{ "listen": "127.0.0.1:5353" }, { "listen": "[::1]:5353", "error": "Address already in use" }],
        "upstreams": [{ "address": "10.0.0.53:53", "error": "no answer within 2 s", "since_ns": 1, "sent": 7, "failed": 2 }],
        "queries": [{ "transport": "udp", "kind": "a", "outcome": "answered", "count": 5 }],
    });
    // It is heard of first.
    assert_eq!(
        curl(&daemon, "/v1/agent", Some(&json!({ "metrics": [] }))).0,
        "204"
    );
    assert_eq!(curl(&daemon, "/v1/agent/dns", Some(&report)).0, "204");
    assert_eq!(
        curl(&daemon, "/v1/agent/dns", Some(&json!({ "queries": 7 }))).0,
        "400"
    );
    assert_eq!(
        (&dns()["behind"], &dns()["listeners"][0]["serving"]),
        (&json!(false), &json!(true))
    );
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    for words in [
        "names of `mesh` at 127.0.0.1:5353, [::1]:5353: Address already in use",
        "10.0.0.53:53: no answer within 2 s",
    ] {
        assert!(status.contains(words), "{words}: {status}");
    }
    let (_, metrics) = curl(&daemon, "/metrics", None);
    for line in [
        "kmesh_lite_dns_queries_total{transport=\"udp\",kind=\"a\",outcome=\"answered\"} 5",
        "kmesh_lite_dns_upstream_failures_total{upstream=\"10.0.0.53:53\"} 2",
        "kmesh_lite_dns_upstream_answers{upstream=\"10.0.0.53:53\"} 0",
        "kmesh_lite_dns_listening{listen=\"[::1]:5353\"} 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }

    let explained = daemon.json(&["explain", "WEB.mesh.:80"]);
    assert_eq!(
        (&explained["name"]["name"], &explained["name"]["service"]),
        (&json!("web.mesh"), &json!("web"))
    );
    let ends: Vec<_> = explained["explanations"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    assert_eq!(ends.len(), 2);
    assert!(
        ends.iter()
            .all(|it| it["candidates"][0]["endpoint"] == "127.0.0.2:80"),
        "{explained}"
    );
    let text = |name: &str| {
        let output = daemon.verb(&["explain", name]);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let words = text("db.mesh");
    assert!(
        words.contains("db.mesh: endpoints of the service db: 127.0.0.3, 127.0.0.4"),
        "{words}"
    );
    assert!(text("_80._tcp.web.mesh").contains("web.mesh"));
    assert!(
        text("none.mesh").contains("nobody else is asked for names below `mesh`"),
        "{}",
        text("none.mesh")
    );
    assert!(text("example.org:80").contains("upstreams are asked for it"));
}

#[test]
fn without_a_listener_nothing_is_served() {
    let Some(host) = Host::new() else { return };
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh("").replace(LISTEN, "")));
    assert_eq!(get(&daemon, "/v1/agent")["dns"], Value::Null);
    assert_eq!(daemon.json(&["status"])["dns"], Value::Null);
    let output = daemon.verb(&["explain", "web.mesh:80"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("no names are served"),
        "{text}"
    );
}
