//! Reloads while clients connect without pause: every connect is that of one mesh, the old or the
//! new one, and none fails.

use kmesh_lite::model::Mesh;
use kmesh_lite_tests::client::{Reached, address, call_address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, Stop, mesh};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

const RELOADS: usize = 500;
const THREADS: usize = 8;

/// What clients ask for. The first five are there in every mesh.
const ASKED: [&str; 7] = [
    "10.96.0.10:80",
    "[fd00:96::10]:80",
    "[::ffff:10.96.0.10]:80",
    "10.96.0.11:80",
    "10.96.0.12:80",
    "10.96.0.13:80",
    "127.0.9.9:8080",
];

/// A mesh by its number, and what it allows: for each of [`ASKED`], where it may end up.
struct Step {
    mesh: Mesh,
    allowed: Vec<Vec<Reached>>,
}

/// Numbers that are different in every step, and the same in every run.
struct Dice(u64);

impl Dice {
    /// Below `limit`; Knuth's MMIX generator, whose high bits are good enough here.
    fn roll(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Moves everything that can move: endpoints and their localities and weights, target ports, the
/// policy, virtual addresses between services, waypoints, the capture of a backend.
fn step(number: usize) -> Step {
    let mut dice = Dice(number as u64);
    let mut text = String::from(
        r#"
        [node]
        locality = "eu-1/eu-1a/rack-a"

        [waypoints.edge]
        address = "127.0.1.1:15008"
        header = "none"
        "#,
    );
    let mut allowed: BTreeMap<&str, Vec<Reached>> = BTreeMap::new();
    let reach = |ip: &str, port: u64| -> Reached { Ok(address(&format!("{ip}:{port}"))) };

    // Failover: only the nearest locality that has endpoints may be used.
    let target = 8080 + dice.roll(2);
    let nearest = dice.roll(3);
    let mut endpoints: Vec<(String, &str, u64)> = Vec::new();
    let mut usable = Vec::new();
    for (distance, locality) in [
        "eu-1/eu-1a/rack-a",
        "eu-1/eu-1b/rack-b",
        "us-1/us-1a/rack-c",
    ]
    .into_iter()
    .enumerate()
    .skip(nearest as usize)
    {
        for _ in 0..=dice.roll(4) {
            let ip = format!("127.0.2.{}", 1 + dice.roll(60));
            if endpoints.iter().any(|(known, ..)| *known == ip) {
                continue;
            }
            if distance == nearest as usize {
                usable.push(reach(&ip, target));
            }
            endpoints.push((ip, locality, 1 + dice.roll(5)));
        }
    }
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(ip, locality, weight)| {
            format!(r#"{{ address = "{ip}", locality = "{locality}", weight = {weight} }}"#)
        })
        .collect();
    text += &format!(
        r#"
        [services.nearest]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:{target}"]
        policy = "failover"
        endpoints = [{}]
        "#,
        endpoints.join(", ")
    );
    for asked in &ASKED[..3] {
        allowed.insert(asked, usable.clone());
    }

    // Two services that swap their addresses, and one that has a waypoint at times.
    let swapped = dice.roll(2) == 1;
    let (one, two) = if swapped {
        ("10.96.0.12", "10.96.0.11")
    } else {
        ("10.96.0.11", "10.96.0.12")
    };
    let (first, second) = (1 + dice.roll(100), 1 + dice.roll(100));
    let by_waypoint = dice.roll(2) == 1;
    let waypoint = if by_waypoint {
        r#"waypoint = "edge""#
    } else {
        ""
    };
    text += &format!(
        r#"
        [services.one]
        vips = ["{one}"]
        ports = ["80:8080"]
        endpoints = ["127.0.3.{first}"]

        [services.two]
        vips = ["{two}"]
        ports = ["80:8081"]
        {waypoint}
        endpoints = ["127.0.4.{second}"]
        "#
    );
    let one_lands = reach(&format!("127.0.3.{first}"), 8080);
    let two_lands = if by_waypoint {
        reach("127.0.1.1", 15008)
    } else {
        reach(&format!("127.0.4.{second}"), 8081)
    };
    let (at_11, at_12) = if swapped {
        (two_lands, one_lands)
    } else {
        (one_lands, two_lands)
    };
    allowed.insert(ASKED[3], Vec::from([at_11]));
    allowed.insert(ASKED[4], Vec::from([at_12]));

    // One that comes, goes, and loses its port or its endpoints.
    let third = 1 + dice.roll(100);
    let lands = match dice.roll(4) {
        0 => Err(Errno::ENETUNREACH),
        1 => {
            text += &declared("81:8080", "");
            Err(Errno::ECONNREFUSED)
        }
        2 => {
            text += &declared("80:8080", "");
            Err(Errno::EHOSTUNREACH)
        }
        _ => {
            text += &declared("80:8080", &format!(r#""127.0.5.{third}""#));
            reach(&format!("127.0.5.{third}"), 8080)
        }
    };
    allowed.insert(ASKED[5], Vec::from([lands]));

    // A backend that is captured at times.
    let captured = dice.roll(2) == 1;
    let lands = if captured {
        text += "[endpoints.captured]\naddress = \"127.0.9.9\"\nwaypoint = \"edge\"\n";
        reach("127.0.1.1", 15008)
    } else {
        reach("127.0.9.9", 8080)
    };
    allowed.insert(ASKED[6], Vec::from([lands]));

    Step {
        mesh: mesh(&text),
        allowed: ASKED.iter().map(|asked| allowed[asked].clone()).collect(),
    }
}

fn declared(port: &str, endpoint: &str) -> String {
    format!(
        r#"
        [services.at-times]
        vips = ["10.96.0.13"]
        ports = ["{port}"]
        endpoints = [{endpoint}]
        "#
    )
}

#[test]
fn every_connect_during_reloads_is_that_of_the_old_or_the_new_mesh() {
    let Some(host) = Host::new() else { return };
    let _backends = [8080, 8081, 15008].map(|port| Echo::brief(&format!("[::]:{port}")));
    let steps: Vec<Step> = (0..=RELOADS).map(step).collect();
    let mut running = host.idle();
    running.follow(&steps[0].mesh);

    // Numbers of the last mesh whose reload began, and of the last whose reload has ended: a
    // connect belongs to one between what had ended before it and what had begun after it.
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (stop, connects) = (AtomicBool::new(false), AtomicU64::new(0));
    let asked: Vec<SocketAddr> = ASKED.iter().map(|asked| address(asked)).collect();
    let connect = |thread: usize| {
        host::give_way();
        let mut turn = thread;
        while !stop.load(Ordering::SeqCst) {
            turn += 1;
            let index = turn % asked.len();
            let from = ended.load(Ordering::SeqCst);
            let reached = call_address(asked[index]);
            let to = begun.load(Ordering::SeqCst);
            let fits = |step: &Step| step.allowed[index].contains(&reached);
            if !steps[from..=to].iter().any(fits) {
                stop.store(true, Ordering::SeqCst);
                let allowed: Vec<_> = steps[from..=to]
                    .iter()
                    .map(|step| &step.allowed[index])
                    .collect();
                panic!(
                    "{} reached {reached:?} between meshes {from} and {to}, which allow {allowed:?}",
                    asked[index]
                );
            }
            connects.fetch_add(1, Ordering::SeqCst);
        }
    };

    let reloads = thread::scope(|scope| {
        let end = Stop(&stop);
        let clients: Vec<_> = (0..THREADS)
            .map(|thread| {
                let connect = &connect;
                scope.spawn(move || connect(thread))
            })
            .collect();
        let mut reloads = 0;
        for (number, step) in steps.iter().enumerate().skip(1) {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            begun.store(number, Ordering::SeqCst);
            // Each fourth one finds out whether the others have left what they say.
            let pass = if number % 4 == 0 {
                running.follow(&step.mesh)
            } else {
                running.change(&step.mesh, [])
            };
            assert_eq!(pass.drift, Vec::<String>::new());
            ended.store(number, Ordering::SeqCst);
            reloads += 1;
            // Clients meet every mesh.
            let before = connects.load(Ordering::SeqCst);
            while connects.load(Ordering::SeqCst) == before && !stop.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
        drop(end);
        for client in clients {
            if let Err(panic) = client.join() {
                std::panic::resume_unwind(panic);
            }
        }
        reloads
    });
    assert_eq!(reloads, RELOADS);
    println!("{connects:?} connects during {reloads} reloads");
}
