//! Whatever happens to the daemon, connects are handled: its links and tables are kept for the next
//! one.

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, LIMITS, Stop, limited};
use kmesh_lite_tests::waypoint::Waypoint;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Two services, one of them behind a waypoint that gets a header.
fn mesh(endpoint: &str) -> String {
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
fn under_fire<T>(servers: &Servers, endpoints: &[&str], work: impl FnOnce(&Fire<'_>) -> T) -> T {
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
struct Fire<'a> {
    connects: &'a AtomicUsize,
    stop: &'a AtomicBool,
}

impl Fire<'_> {
    /// Waits until some more clients have got through, or one has failed.
    fn more(&self) {
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

/// How many operations the last pass took.
fn operations(daemon: &Daemon) -> u64 {
    let status = daemon.json(&["status"]);
    status["last_pass"]["operations"]
        .as_u64()
        .expect("a number")
}

/// How many operations it would take to follow another text.
fn operations_to(daemon: &Daemon, text: &str) -> usize {
    let plan = plan_to(daemon, text);
    plan["operations"].as_array().expect("operations").len()
}

/// Whether the plan to another text says that it is one for larger tables.
fn replaces(daemon: &Daemon, text: &str) -> bool {
    let summary = plan_to(daemon, text)["summary"].to_string();
    summary.contains("the tables are replaced by larger ones")
}

fn plan_to(daemon: &Daemon, text: &str) -> Value {
    let file = daemon.path("other.toml");
    fs::write(&file, text).expect("a file");
    daemon.json(&["plan", file.to_str().expect("a path")])
}

/// Rows in use, room in the table that there is, and the limit.
fn capacity(daemon: &Daemon, table: &str) -> [Option<u64>; 3] {
    let status = daemon.json(&["status"]);
    let tables = status["datapath"]["capacity"].as_array();
    let mut tables = tables.expect("tables").iter();
    let table = tables.find(|it| it["table"] == table).expect("the table");
    ["used", "room", "limit"].map(|what| table[what].as_u64())
}

#[test]
fn tables_that_have_grown_are_taken_over_as_they_are() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    let limits = |services: u32| {
        let before = format!("services = {}\n", LIMITS.services);
        mesh("127.0.0.2").replace(&before, &format!("services = {services}\n"))
    };
    let large = limits(1_000) + &host::more(150);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        assert_eq!(capacity(&daemon, "services"), [2, 64, 64].map(Some));
        assert!(replaces(&daemon, &large));
        daemon.save(&large);
        daemon.wait_until("it has grown", |daemon| {
            capacity(daemon, "services") == [152, 256, 1_000].map(Some)
        });
        fire.more();
        let mut held = large.clone();
        // The same file; then one with fewer rows than there is room for, and limits that are lower.
        for (text, used, limit) in [(&large, 152, 1_000), (&limits(3), 2, 3), (&limits(3), 2, 3)] {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.save(text);
            daemon.start_again(&[]);
            assert_eq!(operations(&daemon) == 0, *text == held, "{}", daemon.log());
            held.clone_from(text);
            assert_eq!(capacity(&daemon, "services"), [used, 256, limit].map(Some));
            fire.more();
        }
        // Room is no leave to go beyond a limit.
        daemon.save(&(limits(3) + &host::more(2)));
        daemon.wait_until("it refuses", |daemon| daemon.state() == "keeping");
        fire.more();
    });
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
}

#[test]
fn a_daemon_that_is_killed_and_restarted_loses_no_connect_and_writes_nothing() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        for signal in [
            Signal::SIGKILL,
            Signal::SIGTERM,
            Signal::SIGABRT,
            Signal::SIGKILL,
        ] {
            daemon.signal(signal);
            daemon.wait();
            fire.more();
            daemon.start_again(&[]);
            assert_eq!(operations(&daemon), 0, "{}", daemon.log());
            assert_eq!(daemon.state(), "routing");
            fire.more();
        }
    });
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
    let counted = &daemon.json(&["status", "web"])["datapath"]["services"][0]["connects"];
    assert!(counted.as_u64() > Some(50), "{counted}");
}

#[test]
fn a_bad_file_at_the_start_changes_nothing_in_the_kernel() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    under_fire(&servers, &["127.0.0.2", "127.0.0.3"], |fire| {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.save("services = 1");
        daemon.start_again(&[]);
        assert_eq!(daemon.state(), "keeping");
        let verdict = daemon.json(&["status"])["verdict"].to_string();
        assert!(verdict.contains("keeping the last good state"), "{verdict}");
        fire.more();
        daemon.save(&mesh("127.0.0.3"));
        daemon.wait_until("it routes", |daemon| daemon.state() == "routing");
    });
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
}

#[test]
fn another_layout_of_tables_takes_over_without_a_gap_and_back() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    let before = tables(&daemon);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        for environment in [&[("KMESH_LITE_LAYOUT", "99")][..], &[]] {
            daemon.signal(Signal::SIGTERM);
            daemon.wait();
            fire.more();
            daemon.start_again(environment);
            assert_eq!(daemon.state(), "routing");
            fire.more();
        }
        // The last good configuration fills the tables of another layout where the file cannot.
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.save("services = 1");
        daemon.start_again(&[("KMESH_LITE_LAYOUT", "98")]);
        assert_eq!(daemon.state(), "keeping");
        assert!(tables(&daemon).iter().all(|name| name.contains("-98-")));
        fire.more();
        daemon.save(&mesh("127.0.0.2"));
        daemon.wait_until("it routes", |daemon| daemon.state() == "routing");
    });
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(tables(&daemon).len(), before.len());
    assert!(tables(&daemon).iter().all(|name| name.contains("-98-")));
}

/// What is kept of the tables.
fn tables(daemon: &Daemon) -> Vec<String> {
    of_kind(daemon, "kmesh-tables-")
}

/// Links to the programs in charge.
fn links(daemon: &Daemon) -> usize {
    of_kind(daemon, "kmesh-link-").len()
}

fn of_kind(daemon: &Daemon, kind: &str) -> Vec<String> {
    let mut names = kept(daemon);
    names.retain(|name| name.starts_with(kind));
    names
}

fn kept(daemon: &Daemon) -> Vec<String> {
    daemon.supervisor.as_ref().expect("a supervisor").names()
}

#[test]
fn sockets_of_an_earlier_version_keep_their_peer_name() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, first) = started(&host);
    let mut open = vec![first];
    under_fire(&servers, &["127.0.0.2"], |fire| {
        for version in ["8", "9"] {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.start_again(&[("KMESH_LITE_SOCKETS", version)]);
            fire.more();
            let another = Client::tcp6();
            another.connect("[fd00:96::10]:80").expect("connected");
            open.push(another);
        }
    });
    assert_eq!(open[0].peer(), Ok(address("10.96.0.10:80")));
    assert_eq!(open[1].peer(), Ok(address("[fd00:96::10]:80")));
    assert_eq!(open[2].peer(), Ok(address("[fd00:96::10]:80")));
}

#[test]
fn a_store_that_lost_descriptors_is_made_good() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, open) = started(&host);
    let before = (tables(&daemon).len(), links(&daemon));
    // Links to programs of before, after each loss.
    let mut of_before = Vec::new();
    // What holds the connects is there in all of these cases, so none may fail.
    for gone in [
        "SETTINGS",
        "ENDPOINTS",
        "ORIGINALS",
        "kmesh-tables",
        "EVENTS",
    ] {
        under_fire(&servers, &["127.0.0.2"], |fire| {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            let supervisor = daemon.supervisor.as_ref().expect("a supervisor");
            supervisor.lose(|name| name.contains(gone));
            let file = File::open("/dev/null").expect("a file");
            supervisor.add("kmesh-link-1", file.into());
            fire.more();
            daemon.start_again(&[]);
            assert_eq!(daemon.state(), "routing", "without {gone}");
            fire.more();
        });
        of_before.push(of_kind(&daemon, "kmesh-kept-").len());
    }
    assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
    // Nothing is left over but what old sockets need: as much each time that what is about sockets
    // was lost.
    let kept = kept(&daemon);
    let left = (tables(&daemon).len(), links(&daemon));
    assert_eq!(left, before, "{kept:?}");
    let once = of_before[2];
    assert_ne!(once, 0);
    assert_eq!(of_before, [0, 0, once, once, 2 * once], "{kept:?}");
    // Without any, it begins anew.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    daemon.forget_everything();
    assert_ne!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    daemon.start_again(&[]);
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
}

#[test]
fn a_map_that_is_not_what_its_name_says_is_not_used() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    let before = tables(&daemon).len();
    under_fire(&servers, &["127.0.0.2"], |fire| {
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        let supervisor = daemon.supervisor.as_ref().expect("a supervisor");
        supervisor.mix_up("-BACKENDS", "-SERVICES");
        daemon.start_again(&[]);
        assert_eq!(daemon.state(), "routing");
        fire.more();
    });
    assert!(
        daemon.log().contains("cannot be taken over"),
        "{}",
        daemon.log()
    );
    assert_eq!(tables(&daemon).len(), before);
}

#[test]
fn a_daemon_that_hangs_holds_nobody_up() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _open) = started(&host);
    under_fire(&servers, &["127.0.0.2"], |fire| {
        daemon.signal(Signal::SIGSTOP);
        for _ in 0..10 {
            fire.more();
        }
        // What a supervisor does when the watchdog is not fed.
        daemon.signal(Signal::SIGABRT);
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        daemon.start_again(&[]);
    });
    assert_eq!(operations(&daemon), 0);
}

/// Every operation, every link and every descriptor is a place to crash at.
#[test]
fn a_crash_at_any_point_of_a_change_is_survived() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _) = started(&host);
    // There is room for the four addresses that it has.
    let addresses = |limit| format!("addresses = {limit}\n");
    let small = mesh("127.0.0.2").replace(&addresses(LIMITS.addresses), &addresses(4));
    let other = small.replace("127.0.0.2", "127.0.0.3");
    // Everything changes, and the tables have to be larger.
    let large = other.replace(&addresses(4), &addresses(LIMITS.addresses))
        + r#"
        [services.more]
        vips = ["10.96.0.12"]
        ports = ["80:8080", "81:8081"]
        policy = "failover"
        endpoints = ["127.0.0.4", { address = "127.0.0.5", weight = 3 }]
        "#;
    for (to, grows) in [(&large, true), (&other, false)] {
        let mut crashes = 0;
        let mut places = 0;
        let mut survived = false;
        while !survived {
            // Anew, or tables that have grown would not have to grow again.
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.forget_everything();
            daemon.save(&small);
            daemon.start_again(&[]);
            assert_eq!(replaces(&daemon, to), grows);
            let open = Client::tcp4();
            open.connect("10.96.0.10:80").expect("connected");
            places = operations_to(&daemon, to) + links(&daemon);
            if grows {
                // Each is kept when it is filled, and let go of when another one is in charge.
                places += 2 * tables(&daemon).len();
            }
            under_fire(&servers, &["127.0.0.2", "127.0.0.3"], |fire| {
                daemon.signal(Signal::SIGKILL);
                daemon.wait();
                daemon.save(to);
                let at = (crashes + 1).to_string();
                let ready = daemon.launch_again(&[("KMESH_LITE_CRASH_AT", &at)]);
                daemon.wait_until("it is ready or crashes", |daemon| {
                    daemon.has_ended() || daemon.times_ready() > ready
                });
                survived = !daemon.has_ended();
                if survived {
                    return;
                }
                crashes += 1;
                fire.more();
                daemon.start_again(&[]);
                assert_eq!(daemon.state(), "routing", "after a crash at {at}");
            });
            assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
            assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
        }
        println!("{crashes} crashes, {places} places");
        assert!(crashes >= places, "{crashes} crashes at {places} places");
    }
}
