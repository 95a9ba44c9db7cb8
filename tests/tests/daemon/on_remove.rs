//! What becomes of connections to an endpoint that is removed.

use crate::PROGRAM;
use kmesh_lite_tests::client::Client;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A service with one endpoint, and another one that nothing happens to.
fn mesh(on_remove: &str, endpoints: &str) -> String {
    limited(&format!(
        r#"
        [mesh]
        on_remove = "keep"

        [services.web]
        vips = ["10.96.0.10"]
        ports = ["80:8080"]
        endpoints = [{endpoints}]
        on_remove = "{on_remove}"

        [services.other]
        vips = ["10.96.0.11"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]
        on_remove = "kill"
        "#
    ))
}

/// Without the service.
fn without() -> String {
    limited(
        r#"
        [services.other]
        vips = ["10.96.0.11"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]
        on_remove = "kill"
        "#,
    )
}

const BOTH: &str = "'127.0.0.2', '127.0.0.3'";
const ONE: &str = "'127.0.0.3'";

/// Connections to each endpoint of `web`, one to the other service, and one past the mesh.
struct Clients {
    of_removed: Vec<Client>,
    of_kept: Vec<Client>,
}

impl Clients {
    fn connect() -> Self {
        let mut clients = Self {
            of_removed: Vec::new(),
            of_kept: Vec::new(),
        };
        for to in ["10.96.0.11:80", "127.0.0.2:8080"] {
            let client = Client::tcp4();
            client.connect(to).expect("connected");
            client.greeting();
            clients.of_kept.push(client);
        }
        while clients.of_removed.is_empty() || clients.of_kept.len() < 3 {
            let client = Client::tcp4();
            client.connect("10.96.0.10:80").expect("connected");
            match client.greeting().ip().to_string().as_str() {
                "127.0.0.2" => clients.of_removed.push(client),
                _ => clients.of_kept.push(client),
            }
        }
        clients
    }

    fn count(&self) -> u64 {
        self.of_removed.len() as u64
    }

    fn live_on(&self) {
        for client in self.of_removed.iter().chain(&self.of_kept) {
            client.exchange("still here\n");
        }
    }

    /// Only those of the endpoint that was removed have ended.
    fn are_ended(&self) {
        for client in &self.of_removed {
            let outcome = client.socket().read(&mut [0; 16]);
            let error = outcome.expect_err("an end").raw_os_error();
            assert_eq!(error.map(Errno::from_raw), Some(Errno::ECONNABORTED));
        }
        for client in &self.of_kept {
            client.exchange("still here\n");
        }
    }
}

fn departed(daemon: &Daemon) -> Value {
    daemon.json(&["status"])["departed"].clone()
}

fn killed(daemon: &Daemon) -> String {
    let mut socket = UnixStream::connect(daemon.path("socket")).expect("the socket");
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).expect("a request");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("an answer");
    let mut lines = text.lines().map(str::to_owned);
    let line = lines.find(|line| line.starts_with("kmesh_lite_connections_killed_total "));
    line.expect("a counter")
}

#[test]
fn connections_are_kept_drained_in_sight_or_ended_as_the_service_says() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::start(PROGRAM, &host, Some(&mesh("keep", BOTH)));
    for on_remove in ["keep", "drain", "kill"] {
        daemon.save(&mesh(on_remove, BOTH));
        assert!(daemon.verb(&["reload"]).status.success());
        let clients = Clients::connect();
        daemon.save(&mesh(on_remove, ONE));
        let plan = daemon.json(&["plan"]);
        let of_removed = json!([{
            "service": "web", "endpoint": "127.0.0.2", "open_connections": clients.count(),
            "on_remove": on_remove,
        }]);
        // The watch on the file may have been quicker than the plan.
        assert!(
            plan["leaving"] == of_removed || plan["leaving"] == json!([]),
            "{plan}"
        );
        assert!(daemon.verb(&["reload"]).status.success());
        match on_remove {
            "keep" => {
                clients.live_on();
                assert_eq!(departed(&daemon), Value::Null);
            }
            "drain" => {
                clients.live_on();
                let shown = departed(&daemon);
                assert_eq!(shown[0]["endpoint"], "127.0.0.2");
                assert_eq!(shown[0]["on_remove"], "drain");
                assert_eq!(shown[0]["open_connections"], clients.count());
                drop(clients);
                daemon.wait_until("they are gone", |daemon| departed(daemon).is_null());
                assert!(daemon.log().contains("has no connection any more"));
            }
            _ => {
                clients.are_ended();
                assert_eq!(departed(&daemon), Value::Null);
                let count = clients.count();
                assert!(daemon.log().contains(&format!("ended {count} connection")));
                assert_eq!(
                    killed(&daemon),
                    format!("kmesh_lite_connections_killed_total {count}")
                );
            }
        }
    }
}

#[test]
fn a_service_that_goes_takes_its_connections_with_it() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let daemon = Daemon::start(PROGRAM, &host, Some(&mesh("kill", "'127.0.0.2'")));
    let clients = ["10.96.0.10:80", "10.96.0.11:80"].map(|to| {
        let client = Client::tcp4();
        client.connect(to).expect("connected");
        client.greeting();
        client
    });
    daemon.save(&without());
    assert!(daemon.verb(&["reload"]).status.success());
    let error = clients[0].socket().read(&mut [0; 16]).expect_err("an end");
    assert_eq!(error.raw_os_error(), Some(Errno::ECONNABORTED as i32));
    clients[1].exchange("still here\n");
}

/// At every operation of the pass, and every descriptor that is kept.
#[test]
fn a_daemon_that_crashes_before_it_has_ended_them_leaves_it_to_the_next() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh("kill", BOTH)));
    let (mut crashes, mut at) = (0, 0);
    loop {
        at += 1;
        let clients = Clients::connect();
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        let ready = daemon.launch_again(&[("KMESH_LITE_CRASH_AT", &at.to_string())]);
        daemon.wait_until("it is ready or ends", |daemon| {
            daemon.times_ready() > ready || daemon.has_ended()
        });
        let is_over = |client: &Client| {
            let socket = client.socket();
            socket.set_nonblocking(true).expect("O_NONBLOCK");
            let outcome = {
                let mut socket = socket;
                socket.read(&mut [0; 1])
            };
            socket.set_nonblocking(false).expect("O_NONBLOCK");
            matches!(outcome, Err(error) if error.raw_os_error() == Some(Errno::ECONNABORTED as i32))
        };
        if !daemon.has_ended() {
            daemon.save(&mesh("kill", ONE));
            let first = &clients.of_removed[0];
            let mut was_over = false;
            daemon.wait_until("it ends them, or itself", |daemon| {
                was_over = is_over(first);
                was_over || daemon.has_ended()
            });
            if was_over && !daemon.has_ended() {
                break;
            }
            crashes += 1;
            daemon.wait();
            daemon.start_again(&[]);
            if !was_over {
                for client in &clients.of_removed {
                    let error = client.socket().read(&mut [0; 1]).expect_err("an end");
                    assert_eq!(
                        error.raw_os_error(),
                        Some(Errno::ECONNABORTED as i32),
                        "at {at}"
                    );
                }
            }
            for client in &clients.of_kept {
                client.exchange("still here\n");
            }
        } else {
            daemon.wait();
            daemon.start_again(&[]);
        }
        daemon.save(&mesh("kill", BOTH));
        assert!(daemon.verb(&["reload"]).status.success());
    }
    assert!(crashes > 2, "{crashes}");
}
