//! Facts about endpoints, and small passes: what they change takes effect, and nothing else is looked at.

use kmesh_lite::model::{Endpoint, EndpointFact, Mesh, Name};
use kmesh_lite_tests::client::{Client, address, call, call_address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, Stop, mesh, routed};
use kmesh_lite_tests::maps::{Maps, frontend_key};
use kmesh_lite_tests::mesh::{mesh_of, plain};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2", "127.0.0.3"]

    [services.other]
    vips = ["10.96.0.11"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]
"#;

fn fact(service: &Name, endpoint: &Endpoint, usable: bool) -> EndpointFact {
    EndpointFact {
        service: service.clone(),
        endpoint: endpoint.into(),
        usable,
    }
}

/// The service's endpoint of this number.
fn endpoint<'a>(mesh: &'a Mesh, service: &str, number: usize) -> (&'a Name, &'a Endpoint) {
    let (name, service) = mesh.services.get_key_value(service).unwrap();
    (name, &service.endpoints[number])
}

#[test]
fn an_unusable_endpoint_gets_no_new_connects_and_keeps_its_connections_and_its_count() {
    let Some(mut running) = routed(WEB) else {
        return;
    };
    let mesh = self::mesh(WEB);
    let client = Client::tcp4();
    let gets_two = |it: &Client| {
        assert_eq!(it.connect("10.96.0.10:80"), Ok(()));
        it.greeting()
    };
    gets_two(&client);
    for _ in 0..40 {
        call("10.96.0.10:80").unwrap();
    }
    let counts = |running: &mut kmesh_lite_tests::host::Routed| running.counts().endpoints;
    let before = counts(&mut running);

    let (web, two) = endpoint(&mesh, "web", 0);
    let pass = running.change(&mesh, [fact(web, two, false)]);
    // Two ranges, the service, its frontend, and the commit.
    assert_eq!(pass.operations, 5, "{:?}", pass.summary);
    for _ in 0..40 {
        assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
        assert_eq!(call("10.96.0.11:80"), Ok(address("127.0.0.2:8080")));
    }
    client.exchange("still there");
    let after = counts(&mut running);
    let stayed = before.iter().filter(|(id, count)| after[*id] == **count);
    assert_eq!(stayed.count(), 1, "{before:?} {after:?}");

    let (_, three) = endpoint(&mesh, "web", 1);
    running.change(&mesh, [fact(web, three, false)]);
    assert!(call("10.96.0.10:80").is_err());
    running.change(&mesh, [fact(web, two, true)]);
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
    client.exchange("still there");
    assert_eq!(running.change(&mesh, []).operations, 0);
    let whole = running.follow(&mesh);
    assert_eq!((whole.operations, whole.drift.as_slice()), (0, &[][..]));
}

#[test]
fn a_small_pass_finds_damage_where_it_writes_and_a_full_one_everywhere() {
    let Some(mut running) = routed(WEB) else {
        return;
    };
    let maps = Maps::of(&running.host);
    maps.touch("delete", "FRONTEND_IDS", &frontend_key(11), None);
    assert!(call("10.96.0.11:80").is_err());
    // Of the other service.
    let moved = WEB.replacen("80:8080", "80:8081", 1);
    let pass = running.change(&mesh(&moved), []);
    assert_eq!(pass.drift, Vec::<String>::new());
    assert!(call("10.96.0.11:80").is_err());

    maps.touch("delete", "FRONTEND_IDS", &frontend_key(10), None);
    let pass = running.change(&mesh(WEB), []);
    let said = pass.drift.join("\n");
    assert!(
        said.contains("10.96.0.10:80") && said.contains("10.96.0.11:80"),
        "{said}"
    );
    assert!(call("10.96.0.10:80").is_ok());
    assert_eq!(call("10.96.0.11:80"), Ok(address("127.0.0.2:8080")));
    assert_eq!(running.follow(&mesh(WEB)).operations, 0);
}

const SERVICES: u32 = 1000;
const ENDPOINTS: u32 = 100;
/// Services that clients ask for.
const ASKED: usize = 8;
/// Facts that come in together, one of each asked service at most.
const BATCHES: usize = 250;
const FACTS_A_SECOND: u32 = 200;
const THREADS: usize = 6;

/// A thousand services of a hundred endpoints, all at addresses of loopback.
fn large() -> Mesh {
    let backend = |number: u32| IpAddr::from(Ipv4Addr::from(0x7f10_0000 + number));
    mesh_of((0..SERVICES).map(|number| {
        let endpoints = (0..ENDPOINTS).map(|at| (backend(number * ENDPOINTS + at), 1));
        (
            format!("s{number:04}"),
            plain(&vip(number).to_string(), endpoints),
        )
    }))
}

fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + service)
}

#[test]
fn while_facts_flip_every_connect_ends_at_an_endpoint_that_is_usable() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let mesh = large();
    let mut running = host.idle();
    running.follow(&mesh);
    let services: Vec<_> = mesh.services.iter().take(ASKED).collect();

    // What is unusable after each batch, by service.
    let mut unusable = vec![vec![BTreeSet::<IpAddr>::new(); ASKED]];
    let mut batches: Vec<Vec<EndpointFact>> = Vec::new();
    let mut state = 1_u64;
    let mut roll = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..BATCHES {
        let mut now = unusable[unusable.len() - 1].clone();
        let mut facts = Vec::new();
        for (asked, (name, service)) in services.iter().enumerate() {
            let endpoint = &service.endpoints[roll(ENDPOINTS as usize)];
            let usable = now[asked].remove(&endpoint.address);
            if !usable && now[asked].len() < 60 {
                now[asked].insert(endpoint.address);
            } else if !usable {
                continue;
            }
            facts.push(fact(name, endpoint, usable));
        }
        unusable.push(now);
        batches.push(facts);
    }

    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (stop, connects) = (AtomicBool::new(false), AtomicU64::new(0));
    let connect = |thread: usize| {
        host::give_way();
        let mut turn = thread;
        while !stop.load(Ordering::SeqCst) {
            turn += 1;
            let asked = turn % ASKED;
            let from = ended.load(Ordering::SeqCst);
            let reached = call_address(SocketAddr::new(vip(asked as u32).into(), 80));
            let to = begun.load(Ordering::SeqCst);
            let fits = reached.is_ok_and(|reached| {
                unusable[from..=to]
                    .iter()
                    .any(|them| !them[asked].contains(&reached.ip()))
            });
            if !fits {
                stop.store(true, Ordering::SeqCst);
                panic!("service {asked} reached {reached:?} between batches {from} and {to}");
            }
            connects.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (facts, took) = thread::scope(|scope| {
        let end = Stop(&stop);
        for thread in 0..THREADS {
            let connect = &connect;
            scope.spawn(move || connect(thread));
        }
        let (start, mut facts) = (Instant::now(), 0_u32);
        for (number, batch) in batches.iter().enumerate() {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let due = start + Duration::from_secs(1) * facts / FACTS_A_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            facts += batch.len() as u32;
            begun.store(number + 1, Ordering::SeqCst);
            let pass = running.change(&mesh, batch.iter().cloned());
            ended.store(number + 1, Ordering::SeqCst);
            assert!(pass.operations <= 1 + 4 * batch.len(), "{:?}", pass.summary);
            assert_eq!(pass.drift, Vec::<String>::new());
        }
        drop(end);
        (facts, start.elapsed())
    });
    println!("{connects:?} connects during {facts} facts in {took:?}");
    let whole = running.follow(&mesh);
    assert_eq!((whole.operations, whole.drift.as_slice()), (0, &[][..]));
}
