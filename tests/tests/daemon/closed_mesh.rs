//! A mesh that is closed by what `policies suggest` has seen: programs of this host, and connections that arrive from
//! two localities, over both families.

use crate::PROGRAM;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::zone::Zone;
use nix::errno::Errno;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output};

/// Two services of this host, with a port each, and two of other hosts, from which connections come.
const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = [
        { address = "10.50.1.1", locality = "eu/one" },
        { address = "fd50:1::1", locality = "eu/one" },
        { address = "10.50.2.1", locality = "eu/two" },
        { address = "fd50:2::1", locality = "eu/two" },
    ]

    [services.db]
    vips = ["10.96.0.11", "fd00:96::11"]
    ports = ["80:8081"]
    endpoints = [
        { address = "10.50.1.1", locality = "eu/one" },
        { address = "fd50:1::1", locality = "eu/one" },
        { address = "10.50.2.1", locality = "eu/two" },
        { address = "fd50:2::1", locality = "eu/two" },
    ]

    [services.front]
    vips = ["10.96.0.12", "fd00:96::12"]
    ports = [80]
    endpoints = [
        { address = "10.50.1.2", locality = "eu/one" },
        { address = "fd50:1::2", locality = "eu/one" },
    ]

    [services.cron]
    vips = ["10.96.0.13", "fd00:96::13"]
    ports = [80]
    endpoints = [
        { address = "10.50.2.2", locality = "eu/two" },
        { address = "fd50:2::2", locality = "eu/two" },
    ]
"#;

const SERVICES: [&str; 2] = ["web", "db"];

/// Units of this host, and the services that each of them uses.
const UNITS: [(&str, &[&str]); 3] = [
    ("till.service", &["web", "db"]),
    ("shelf.service", &["web"]),
    ("ledger.service", &["db"]),
];

/// Addresses of other hosts: the zone that they are in, the last part, and the services that each of them uses.
const OTHERS: [(u8, u8, &[&str]); 4] = [
    (1, 2, &["web"]),
    (2, 2, &["db"]),
    // These two are no endpoints.
    (1, 3, &[]),
    (2, 3, &[]),
];

/// The virtual addresses of a service.
fn vips(service: &str) -> [SocketAddr; 2] {
    let last = if service == "web" { "10" } else { "11" };
    [
        address(&format!("10.96.0.{last}:80")),
        address(&format!("[fd00:96::{last}]:80")),
    ]
}

/// The endpoints of a service in a zone.
fn endpoints(service: &str, zone: u8) -> [SocketAddr; 2] {
    let port = if service == "web" { 8080 } else { 8081 };
    [
        address(&format!("10.50.{zone}.1:{port}")),
        address(&format!("[fd50:{zone}::1]:{port}")),
    ]
}

/// A connect from an address of another host.
fn arrive(zone: &Zone, from: IpAddr, to: SocketAddr) -> Result<(), Errno> {
    zone.inside(move || {
        let client = Client::tcp(to).bind(&SocketAddr::new(from, 0).to_string());
        client.connect(&to.to_string())?;
        assert_eq!(client.greeting(), to);
        Ok(())
    })
}

/// Everybody who connects.
struct World {
    units: Vec<Cgroup>,
    zones: [Zone; 2],
}

impl World {
    fn new(host: &Host) -> Self {
        let unit = |(name, _): (&str, _)| host.cgroup.child(name).expect("a cgroup");
        Self {
            units: UNITS.map(unit).into(),
            zones: [1, 2].map(Zone::of_another_host),
        }
    }

    /// Every pair: who connects to what, whether it is one of those that are to talk, and what came of it.
    fn try_all(&self, mut outcome: impl FnMut(&str, bool, Pair<'_>)) {
        for service in SERVICES {
            for (unit, (name, uses)) in self.units.iter().zip(UNITS) {
                for vip in vips(service) {
                    let pair = Pair::Outbound(unit, vip);
                    outcome(&format!("{name} to {vip}"), uses.contains(&service), pair);
                }
            }
            for (zone, last, uses) in OTHERS {
                let from = [
                    format!("10.50.{zone}.{last}"),
                    format!("fd50:{zone}::{last}"),
                ];
                for (from, to) in from.into_iter().zip(endpoints(service, zone)) {
                    let at = &self.zones[usize::from(zone) - 1];
                    let pair = Pair::Inbound(at, from.parse().expect("an address"), to);
                    outcome(&format!("{from} to {to}"), uses.contains(&service), pair);
                }
            }
        }
    }
}

/// Who connects to what.
enum Pair<'a> {
    Outbound(&'a Cgroup, SocketAddr),
    Inbound(&'a Zone, IpAddr, SocketAddr),
}

impl Pair<'_> {
    fn connect(&self) -> Result<(), Errno> {
        match self {
            Self::Outbound(unit, to) => {
                let reached = unit.run(|| call(&to.to_string())).expect("inside");
                reached.map(drop)
            }
            Self::Inbound(zone, from, to) => arrive(zone, *from, *to),
        }
    }

    /// What one sees that is refused.
    fn refusal(&self) -> Errno {
        match self {
            Self::Outbound(..) => Errno::EACCES,
            Self::Inbound(..) => Errno::ECONNREFUSED,
        }
    }
}

fn done(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn whoever_was_seen_talks_and_all_others_are_refused_on_their_side_over_both_families() {
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080, 8081]);
    let world = World::new(&host);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&limited(MESH)));
    daemon.wait_until("it is ready", |daemon| daemon.times_ready() > 0);
    world.try_all(|who, talks, pair| {
        if talks {
            assert_eq!(pair.connect(), Ok(()), "{who}");
        }
    });
    let closed = done(&daemon.verb(&["policies", "suggest", "--enforce"]));
    fs::create_dir(daemon.path("mesh.d")).expect("a folder");
    fs::write(daemon.path("mesh.d/90-seen.toml"), &closed).expect("a drop-in");
    done(
        &Command::new(PROGRAM)
            .arg("check")
            .arg(daemon.path("mesh.toml"))
            .output()
            .expect("a verb"),
    );
    done(&daemon.verb(&["reload"]));
    let (mut talked, mut refused) = (0, [0, 0]);
    world.try_all(|who, talks, pair| {
        if talks {
            assert_eq!(pair.connect(), Ok(()), "{who}\n{closed}");
            talked += 1;
        } else {
            assert_eq!(pair.connect(), Err(pair.refusal()), "{who}\n{closed}");
            refused[usize::from(matches!(pair, Pair::Inbound(..)))] += 1;
        }
    });
    assert_eq!((talked, refused), (12, [4, 12]));
    // Each side has counted what it refused.
    let status = daemon.json(&["status"]);
    let counted = status["datapath"]["policies"].as_array().expect("policies");
    let sum = |what: &str| -> u64 { counted.iter().filter_map(|it| it[what].as_u64()).sum() };
    assert_eq!(sum("connects"), 4, "{status:#}");
    // A segment that is sent again, or that comes late, is judged again.
    assert!(sum("arrivals") >= 12, "{status:#}");
}
