//! Clients that connect without a pause, and the servers that they reach.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, Stop, limited};
use kmesh_lite_tests::waypoint::Waypoint;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Two services, one of them behind a waypoint that gets a header.
pub fn mesh(endpoint: &str) -> String {
    limited(&format!(
        r#"
        [waypoints.edge]
        address = "127.0.1.1:15008"
        header = "proxy-v2"

        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = ["{endpoint}"]

        [services.far]
        vips = ["10.96.0.11", "fd00:96::11"]
        ports = ["80:8080"]
        waypoint = "edge"
        endpoints = ["{endpoint}"]
        "#
    ))
}

const ASKED: [&str; 4] = [
    "10.96.0.10:80",
    "[fd00:96::10]:80",
    "10.96.0.11:80",
    "[fd00:96::11]:80",
];

/// Servers that the clients reach.
pub struct Servers {
    _backends: Echo,
    waypoint: Waypoint,
}

impl Servers {
    pub fn start() -> Self {
        Self {
            _backends: Echo::brief("[::]:8080"),
            waypoint: Waypoint::listen(15008),
        }
    }
}

/// Clients that connect to each of [`ASKED`] without a pause while `work` is done. Every one must get
/// through: to one of `endpoints`, or to the waypoint, which must learn where it wanted to go.
pub fn under_fire<T>(
    servers: &Servers,
    endpoints: &[&str],
    work: impl FnOnce(&Fire<'_>) -> T,
) -> T {
    let (stop, connects) = (AtomicBool::new(false), AtomicUsize::new(0));
    let endpoints: Vec<SocketAddr> = endpoints
        .iter()
        .map(|ip| address(&format!("{ip}:8080")))
        .collect();
    let client = |thread: usize| {
        host::give_way();
        let mut turn = thread;
        while !stop.load(Ordering::SeqCst) {
            turn += 1;
            let asked = ASKED[turn % ASKED.len()];
            let outcome = if turn % ASKED.len() < 2 {
                match call(asked) {
                    Ok(reached) if endpoints.contains(&reached) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            } else {
                by_waypoint(asked)
            };
            if let Err(outcome) = outcome {
                stop.store(true, Ordering::SeqCst);
                panic!("{asked}: {outcome}");
            }
            connects.fetch_add(1, Ordering::SeqCst);
        }
    };
    let fire = Fire {
        connects: &connects,
        stop: &stop,
    };
    let done = thread::scope(|scope| {
        let end = Stop(&stop);
        let clients: Vec<_> = (0..4)
            .map(|thread| {
                let client = &client;
                scope.spawn(move || client(thread))
            })
            .collect();
        fire.more();
        let done = work(&fire);
        // Some after the last thing that happened, too.
        fire.more();
        drop(end);
        for client in clients {
            if let Err(panic) = client.join() {
                std::panic::resume_unwind(panic);
            }
        }
        done
    });
    while let Some(heard) = servers.waypoint.heard_within(Duration::ZERO) {
        let asked = heard.proxy().map(|(_, asked)| asked);
        assert!(
            ASKED[2..].iter().any(|there| asked == Some(address(there))),
            "the waypoint heard {heard:?}"
        );
        assert_eq!(heard.payload(), b"hello");
    }
    println!("{} connects", connects.into_inner());
    done
}

fn by_waypoint(asked: &str) -> Result<(), String> {
    let client = if asked.starts_with('[') {
        Client::tcp6()
    } else {
        Client::tcp4()
    };
    client.connect(asked).map_err(|error| error.to_string())?;
    client.send(b"hello");
    client.finish();
    let mut answer = String::new();
    client
        .socket()
        .read_to_string(&mut answer)
        .map_err(|error| error.to_string())?;
    if answer == "done" {
        Ok(())
    } else {
        Err(format!("answered {answer:?}"))
    }
}

/// Clients at work.
pub struct Fire<'a> {
    connects: &'a AtomicUsize,
    stop: &'a AtomicBool,
}

impl Fire<'_> {
    /// Waits until some more clients have got through, or one has failed.
    pub fn more(&self) {
        let before = self.connects.load(Ordering::SeqCst);
        while self.connects.load(Ordering::SeqCst) < before + 20
            && !self.stop.load(Ordering::SeqCst)
        {
            thread::yield_now();
        }
    }
}

/// A daemon that routes, and an open connection through it.
pub fn started(host: &Host) -> (Daemon, Client) {
    let mut daemon = Daemon::supervised(PROGRAM, host, Some(&mesh("127.0.0.2")));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    let open = Client::tcp4();
    open.connect("10.96.0.10:80").expect("connected");
    (daemon, open)
}
