//! Policies that also end connections that stand.

use crate::PROGRAM;
use kmesh_lite_tests::client::Client;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use std::fs;
use std::io::Read;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["10.9.0.1"]
"#;

fn connected(from: &str, to: &str) -> Client {
    let client = Client::tcp4().bind(&format!("{from}:0"));
    client.connect(to).expect("nothing is refused yet");
    client.greeting();
    client
}

/// Whether the connection was ended.
fn is_over(client: &Client) -> bool {
    let socket = client.socket();
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    let read = (&mut &*socket).read(&mut [0; 1]);
    socket.set_nonblocking(false).expect("no O_NONBLOCK");
    match read {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn connections_that_are_allowed_no_more_are_ended_where_a_policy_says_so_and_counted() {
    let Some(host) = Host::new() else { return };
    host.add(&["10.9.0.1", "10.9.1.1", "10.9.2.1"]);
    let _servers = Echo::everywhere(&[8080, 8081]);
    let batch = host.cgroup.child("batch.slice").unwrap();
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&limited(MESH)));
    let out = batch
        .run(|| connected("10.9.1.1", "10.96.0.10:80"))
        .unwrap();
    let straight = batch
        .run(|| connected("10.9.1.1", "10.9.0.1:8080"))
        .unwrap();
    let kept_out = connected("10.9.1.1", "10.96.0.10:80");
    let kept_straight = connected("10.9.1.1", "10.9.0.1:8080");
    let arrived = connected("10.9.2.1", "10.9.0.1:8081");
    let kept = connected("10.9.1.1", "10.9.0.1:8081");
    let policies = |enforce_existing: bool| {
        format!(
            "{MESH}[policies.no-batch]\naction = 'deny'\nservices = ['web']\nclients = ['{}']\n\
             enforce_existing = {enforce_existing}\n\
             [policies.no-two]\naction = 'deny'\nports = [8081]\nfrom = ['10.9.2.0/24']\n\
             enforce_existing = {enforce_existing}\n",
            batch.path().display()
        )
    };
    let next = daemon.path("next.toml");
    fs::write(&next, limited(&policies(false))).expect("a file");
    let plan = daemon.json(&["plan", &next.display().to_string()]);
    let open = |number: usize| plan["denied"][number]["open_connections"].as_u64();
    assert_eq!([open(0), open(1)], [Some(2), Some(1)], "{plan}");
    daemon.save(&limited(&policies(false)));
    let reloaded = daemon.json(&["reload"]);
    assert!(reloaded["ended"].is_null(), "{reloaded}");
    for client in [&out, &straight, &kept_out, &kept_straight, &arrived, &kept] {
        assert!(!is_over(client));
        client.exchange("still here");
    }
    daemon.save(&limited(&policies(true)));
    // Saving the file is as good as asking, so it is the log that says it in any case.
    daemon.verb(&["reload"]);
    for (policy, count) in [("no-batch", "2 connections"), ("no-two", "1 connection")] {
        let line = format!("policy {policy}: ended {count} that it refuses now");
        daemon.wait_until("connections to be ended", |daemon| {
            daemon.log().contains(&line)
        });
    }
    assert!(is_over(&out) && is_over(&straight) && is_over(&arrived));
    for client in [&kept_out, &kept_straight, &kept] {
        client.exchange("still here");
    }
}
