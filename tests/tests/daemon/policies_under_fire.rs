//! Clients that connect without a pause while policies change, and while the daemon ends and begins: whoever is allowed
//! gets through every time, and whoever is not never does.

use crate::PROGRAM;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, limited};
use kmesh_lite_tests::zone::Zone;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

const RELOADS: usize = 50;

const SERVICES: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["10.50.1.1", "fd50:1::1"]

    [services.front]
    vips = ["10.96.0.12", "fd00:96::12"]
    ports = [80]
    endpoints = ["10.50.1.2", "fd50:1::2"]
"#;

/// Ways to say that `till.service` and the other host's `.2` may connect, and `shelf.service` and `.3` may not. The
/// addresses of this host are those that its own programs arrive from.
const POLICIES: [&str; 5] = [
    r#"
    [policies.open]
    action = "allow"
    services = ["web"]
    clients = ["till.service"]
    from = ["10.50.1.1", "fd50:1::1", "10.50.1.2", "fd50:1::2"]
    "#,
    // By those that are denied, whatever is around them.
    r#"
    [policies.around]
    action = "allow"
    services = ["web", "front"]
    clients = ["*"]
    from = ["10.50.0.0/16", "fd50::/16"]

    [policies.but]
    action = "deny"
    services = ["web"]
    clients = ["shelf.service"]
    from = ["10.50.1.3", "fd50:1::3"]
    "#,
    // By other names and targets, and beside what only counts.
    r#"
    [policies.audited]
    action = "deny"
    services = ["web"]
    clients = ["till.service", "user:root"]
    from = ["10.50.1.2/31", "fd50:1::2/127", "0.0.0.0/1"]
    mode = "audit"

    [policies.here]
    action = "allow"
    services = ["web"]
    clients = ["till.service", "till-*.service"]

    [policies.there]
    action = "allow"
    ports = [8080]
    from = ["service:front", "service:web"]
    "#,
    // By a port at any address, of which endpoints are a part.
    r#"
    [policies.not]
    action = "deny"
    services = ["web"]
    clients = ["shelf.service"]

    [policies.near]
    action = "deny"
    ports = ["*"]
    from = ["10.50.1.3", "fd50:1::3"]
    "#,
    // With standing connections, of which nobody has any.
    r#"
    [policies.ending]
    action = "deny"
    services = ["web"]
    clients = ["shelf.service"]
    from = ["10.50.1.3/32", "fd50:1::3/128"]
    enforce_existing = true
    "#,
];

/// The names of the policies in a text.
fn names(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim);
    let names = lines.filter_map(|line| line.strip_prefix("[policies.")?.strip_suffix("]"));
    names.map(str::to_owned).collect()
}

fn mesh(number: usize) -> String {
    limited(&format!("{SERVICES}{}", POLICIES[number % POLICIES.len()]))
}

/// What a client has that connects without a pause.
struct Shooter {
    connects: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// Clients at work, until this is dropped.
struct Fire {
    over: Arc<AtomicBool>,
    shooters: Vec<Shooter>,
}

impl Fire {
    fn open(units: [&Cgroup; 2], other: &Zone) -> Self {
        let mut fire = Self {
            over: Arc::default(),
            shooters: Vec::new(),
        };
        let [till, shelf] = units;
        let (ok, refused, denied) = (Ok(()), Err(Errno::ECONNREFUSED), Err(Errno::EACCES));
        for vip in ["10.96.0.10:80", "[fd00:96::10]:80"] {
            for (unit, expected) in [(till, ok), (shelf, denied)] {
                let client = fire.client(None, vip, expected);
                fire.add(unit.run(client).expect("inside"));
            }
        }
        for (from, to, expected) in [
            ("10.50.1.2:0", "10.50.1.1:8080", ok),
            ("[fd50:1::2]:0", "[fd50:1::1]:8080", ok),
            ("10.50.1.3:0", "10.50.1.1:8080", refused),
            ("[fd50:1::3]:0", "[fd50:1::1]:8080", refused),
        ] {
            let client = fire.client(Some(from), to, expected);
            fire.add(other.inside(client));
        }
        fire
    }

    fn add(&mut self, shooter: Shooter) {
        self.shooters.push(shooter);
    }

    /// What starts a client where it is called.
    fn client(
        &self,
        from: Option<&'static str>,
        to: &'static str,
        expected: Result<(), Errno>,
    ) -> impl FnOnce() -> Shooter + Send + use<> {
        let over = self.over.clone();
        let connects = Arc::new(AtomicU64::new(0));
        let counted = connects.clone();
        let shoot = move || {
            host::give_way();
            while !over.load(Ordering::SeqCst) {
                let outcome = connect(from, address(to));
                let number = counted.fetch_add(1, Ordering::SeqCst);
                if outcome != expected {
                    over.store(true, Ordering::SeqCst);
                    let from = from.unwrap_or("a unit");
                    panic!("connect {number} from {from} to {to}: {outcome:?}, not {expected:?}");
                }
            }
        };
        move || Shooter {
            connects,
            thread: thread::spawn(shoot),
        }
    }

    /// Waits until every client has connected twice more, or one has found something wrong: one of the two has begun
    /// since.
    fn more(&self) {
        let connects = || -> Vec<u64> {
            let shooters = self.shooters.iter();
            shooters
                .map(|it| it.connects.load(Ordering::SeqCst))
                .collect()
        };
        let before = connects();
        let enough = || {
            connects()
                .iter()
                .zip(&before)
                .all(|(now, it)| *now >= it + 2)
        };
        while !enough() && !self.over.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert!(!self.over.load(Ordering::SeqCst), "see above");
    }

    /// Ends; fails if a client has found something wrong.
    fn cease(mut self) {
        self.over.store(true, Ordering::SeqCst);
        for Shooter { connects, thread } in self.shooters.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
            println!("{} connects", connects.load(Ordering::SeqCst));
        }
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for shooter in self.shooters.drain(..) {
            let _ = shooter.thread.join();
        }
    }
}

fn connect(from: Option<&str>, to: SocketAddr) -> Result<(), Errno> {
    let mut client = Client::tcp(to);
    if let Some(from) = from {
        client = client.bind(from);
    }
    client.connect(&to.to_string())?;
    client.greeting();
    Ok(())
}

/// A daemon with the first of [`POLICIES`], and clients under which `work` is done.
fn under_fire(work: impl FnOnce(&mut Daemon, &Fire)) {
    let Some(host) = Host::new() else { return };
    let other = Zone::of_another_host(1);
    let _servers = Echo::brief("[::]:8080");
    let units = ["till.service", "shelf.service"].map(|name| host.cgroup.child(name).unwrap());
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh(0)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    assert_eq!(held(&daemon), names(POLICIES[0]), "{}", daemon.log());
    let fire = Fire::open(units.each_ref(), &other);
    fire.more();
    work(&mut daemon, &fire);
    fire.more();
    fire.cease();
}

/// The policies that the daemon says are in the kernel.
fn held(daemon: &Daemon) -> BTreeSet<String> {
    let status = daemon.json(&["status"]);
    let policies = status["datapath"]["policies"].as_array().expect("policies");
    let name = |it: &serde_json::Value| it["name"].as_str().expect("a name").to_owned();
    policies.iter().map(name).collect()
}

#[test]
fn a_change_of_policies_lets_nobody_through_and_cuts_nobody_off() {
    under_fire(|daemon, fire| {
        for number in 1..=RELOADS {
            daemon.save(&mesh(number));
            let reload = daemon.verb(&["reload"]);
            assert!(reload.status.success(), "{reload:?}");
            assert_eq!(held(daemon), names(POLICIES[number % POLICIES.len()]));
            fire.more();
        }
    });
}

#[test]
fn policies_hold_while_the_daemon_is_away_and_when_it_comes_back() {
    under_fire(|daemon, fire| {
        let mut number = 0;
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            for environment in [
                &[][..],
                &[("KMESH_LITE_LAYOUT", "99")],
                &[("KMESH_LITE_SOCKETS", "98")],
                &[],
            ] {
                // As it was, and with other policies from the start.
                for more in [0, 1] {
                    daemon.signal(signal);
                    daemon.wait();
                    fire.more();
                    number += more;
                    daemon.save(&mesh(number));
                    daemon.start_again(environment);
                    assert_eq!(daemon.state(), "routing");
                    assert_eq!(held(daemon), names(POLICIES[number % POLICIES.len()]));
                    fire.more();
                }
            }
        }
    });
}

/// Every operation, every link and every descriptor is a place to crash at. Each of them takes some seconds, so every third
/// one is tried.
#[test]
fn a_crash_at_any_point_of_a_change_of_policies_lets_nobody_through_either() {
    const STEP: usize = 3;
    under_fire(|daemon, fire| {
        let (mut number, mut place, mut survived) = (0, 0, 0);
        // Some changes have more places than others.
        while survived < POLICIES.len() {
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            (number, place) = (number + 1, place + STEP);
            daemon.save(&mesh(number));
            let at = place.to_string();
            let ready = daemon.launch_again(&[("KMESH_LITE_CRASH_AT", &at)]);
            daemon.wait_until("it is ready or crashes", |daemon| {
                daemon.has_ended() || daemon.times_ready() > ready
            });
            fire.more();
            if daemon.has_ended() {
                survived = 0;
                daemon.start_again(&[]);
            } else {
                survived += 1;
            }
            let expected = names(POLICIES[number % POLICIES.len()]);
            assert_eq!(held(daemon), expected, "after a crash at {place}");
        }
        let crashes = place / STEP - POLICIES.len();
        println!("{crashes} crashes, the last one before place {place}");
        assert!(crashes > 7, "{crashes}");
    });
}
