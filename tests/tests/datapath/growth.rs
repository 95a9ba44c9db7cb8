//! Tables that are replaced by larger ones while connections are open and more are made.

use kmesh_lite::model::{Limits, Mesh};
use kmesh_lite::reconcile::Extent;
use kmesh_lite::tables::Counters;
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, LIMITS, Stop, chain, mesh, more, routed};
use kmesh_lite_tests::require;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const WEB: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2", "127.0.0.3"]

    [services.udp]
    vips = ["10.96.0.11"]
    ports = [{ port = 53, target = 5353, protocol = "udp" }]
    endpoints = ["127.0.0.4"]
"#;

/// The services, and so many more.
fn with(services: u32) -> String {
    WEB.to_owned() + &more(services)
}

fn limits(of: u32) -> Limits {
    Limits {
        addresses: of,
        frontends: of,
        services: of,
        endpoints: of,
        backends: of,
        waypoints: of,
        policies: of,
        guards: of,
        rules: of,
        destinations: of,
        sources: of,
        connections: LIMITS.connections,
        flows: LIMITS.flows,
    }
}

#[test]
fn growing_tables_lose_no_connect_no_peer_name_and_no_count() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let _udp = Echo::udp("127.0.0.4:5353");
    let mut mesh = self::mesh(WEB);
    let mut running = host.idle();
    running.follow(&mesh);

    let before = [
        (Client::tcp4(), "10.96.0.10:80"),
        (Client::tcp6(), "[fd00:96::10]:80"),
        (Client::tcp6(), "[::ffff:10.96.0.10]:80"),
    ];
    let mut made = 0;
    for (client, to) in &before {
        assert_eq!(client.connect(to), Ok(()));
        client.greeting();
        made += 1;
    }
    let datagrams = Client::udp4();
    assert_eq!(datagrams.connect("10.96.0.11:53"), Ok(()));
    for _ in 0..40 {
        call("10.96.0.10:80").unwrap();
        made += 1;
    }
    let stop = AtomicBool::new(false);
    let connects: Vec<u64> = thread::scope(|scope| {
        let connect = || {
            let mut connects = 0;
            while !stop.load(Ordering::SeqCst) {
                for to in ["10.96.0.10:80", "[fd00:96::10]:80"] {
                    let reached = call(to).unwrap_or_else(|error| panic!("{to}: {error}"));
                    let reached = reached.ip().to_string();
                    assert!(
                        reached == "127.0.0.2" || reached == "127.0.0.3",
                        "{reached}"
                    );
                    connects += 1;
                }
            }
            connects
        };
        let end = Stop(&stop);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
        for services in [80, 200, 450, 1_100, 2_300] {
            let room = running.room().services;
            mesh = self::mesh(&with(services));
            mesh.limits = limits(4_000);
            let pass = running.follow(&mesh);
            assert!(pass.replaced);
            assert!(running.room().services >= 2 * room || running.room().services == 4_000);
            // A pass that does not grow, on the new tables.
            assert_eq!(running.follow(&mesh).operations, 0);
        }
        drop(end);
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no connect fails"))
            .collect()
    });

    for (client, to) in &before {
        assert_eq!(client.peer(), Ok(address(to)));
        client.exchange("still here\n");
    }
    assert_eq!(datagrams.peer(), Ok(address("10.96.0.11:53")));
    assert_eq!(datagrams.ask(), Ok(address("127.0.0.4:5353")));
    assert_eq!(call("10.97.1.230:80"), Ok(address("127.1.1.230:8080")));
    // A socket from before forgets, too.
    assert_eq!(datagrams.connect("127.0.0.4:5353"), Ok(()));
    assert_eq!(datagrams.peer(), Ok(address("127.0.0.4:5353")));

    // Connects during a switch may be lost to the count, and nothing else may.
    let all = made + connects.iter().sum::<u64>() + 2;
    let counted = running.outcomes()[&Outcome::Endpoint];
    assert!(
        (made..=all).contains(&counted),
        "{made} <= {counted} <= {all}"
    );
}

#[test]
fn growing_tables_carry_every_counter_over() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut mesh = mesh(WEB);
    let mut running = host.idle();
    running.follow(&mesh);
    for _ in 0..25 {
        call("10.96.0.10:80").unwrap();
    }
    for _ in 0..5 {
        call("10.96.0.10:81").unwrap_err();
    }
    let before = running.counts();
    assert_eq!(before.outcomes[&Outcome::Endpoint], 25);
    mesh = self::mesh(&with(100));
    mesh.limits = limits(1_000);
    assert!(running.follow(&mesh).replaced);
    let after = running.counts();
    assert_eq!(before.outcomes, after.outcomes);
    // Only what is new is there as well, and was not counted yet.
    let counted = |counts: &Counters| {
        let services = counts.connects.services.clone().into_iter();
        let endpoints = counts.endpoints.clone().into_iter();
        (
            services.filter(|(_, count)| *count > 0).collect::<Vec<_>>(),
            endpoints
                .filter(|(_, count)| *count > 0)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(counted(&before), counted(&after));
    assert_eq!(before.endpoints.values().sum::<u64>(), 25);
    assert_eq!(after.endpoints.len(), before.endpoints.len() + 100);
}

/// A service of its own port, with so many endpoints: 127.2.0.1 and those that follow.
fn wide(endpoints: u32) -> Mesh {
    let each = (0..endpoints).map(|at| format!("'127.2.{}.{}'", at / 250, at % 250 + 1));
    let endpoints = each.collect::<Vec<_>>().join(", ");
    let mut mesh = mesh(&format!(
        "{WEB}\n[services.wide]\nvips = ['10.96.0.12']\nports = ['80:8080']\nendpoints = [{endpoints}]\n"
    ));
    mesh.limits = limits(4_000);
    mesh
}

#[test]
fn a_service_that_grows_to_thousands_of_endpoints_moves_a_few_times_and_fails_nobody() {
    for (name, extent) in [("files", Extent::Everything), ("small", Extent::Changes)] {
        let Some(host) = Host::new() else { return };
        let _backends = Echo::everywhere(&[8080]);
        let mut running = host.idle_in(limits(16));
        running.follow(&wide(1));
        let open: Vec<_> = ["10.96.0.10:80", "10.96.0.12:80"]
            .map(|to| (Client::tcp4(), to))
            .into();
        for (client, to) in &open {
            assert_eq!(client.connect(to), Ok(()));
            client.greeting();
        }
        let stop = AtomicBool::new(false);
        let connects = AtomicU64::new(0);
        let moves = thread::scope(|scope| {
            let connect = || {
                // One that fails ends the test.
                let _end = Stop(&stop);
                while !stop.load(Ordering::SeqCst) {
                    for (to, there) in [("10.96.0.10:80", "127.0.0."), ("10.96.0.12:80", "127.2.")]
                    {
                        let reached = call(to).unwrap_or_else(|error| panic!("{to}: {error}"));
                        assert!(reached.to_string().starts_with(there), "{to}: {reached}");
                        connects.fetch_add(1, Ordering::SeqCst);
                    }
                }
            };
            let _end = Stop(&stop);
            for _ in 0..4 {
                scope.spawn(connect);
            }
            let mut moves = 0;
            let mut endpoints = 1;
            while endpoints < 3_000 {
                endpoints = match extent {
                    Extent::Everything => endpoints * 3 / 2 + 40,
                    Extent::Changes => endpoints + 100,
                };
                let mesh = wide(endpoints.min(3_000));
                let pass = match extent {
                    Extent::Everything => running.follow(&mesh),
                    Extent::Changes => running.change(&mesh, []),
                };
                assert_eq!(pass.drift, Vec::<String>::new(), "{name}");
                moves += u32::from(pass.replaced);
                let enough = connects.load(Ordering::SeqCst) + 8;
                while connects.load(Ordering::SeqCst) < enough && !stop.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
            }
            moves
        });
        assert!((3..=9).contains(&moves), "{name}: {moves} moves");
        let room = running.room();
        assert!(room.endpoints >= 3_000, "{room:?}");
        for (client, to) in &open {
            assert_eq!(client.peer(), Ok(address(to)));
            client.exchange("still here\n");
        }
        let listed = running.listed();
        let cookies: Vec<_> = open.iter().map(|(client, _)| client.cookie()).collect();
        assert!(cookies.iter().all(|cookie| listed.contains_key(cookie)));
        // In place, now that there is room.
        assert!(!running.change(&wide(2_900), []).replaced);
        assert_eq!(running.follow(&wide(2_900)).operations, 0);
    }
}

#[test]
fn tables_stay_as_large_when_limits_are_lowered() {
    let Some(host) = Host::new() else { return };
    let mut running = host.run(WEB);
    let mut smaller = mesh(WEB);
    smaller.limits = limits(16);
    let pass = running.follow(&smaller);
    assert!(!pass.replaced);
    assert_eq!(running.room(), LIMITS);
    // There is room for more, but the file does not allow it.
    let mut more = mesh(&with(20));
    more.limits = limits(16);
    let error = chain(&running.try_follow(&more).unwrap_err());
    assert!(error.contains("[limits] services"), "{error}");
    assert_eq!(running.follow(&smaller).operations, 0);
}

#[test]
fn higher_limits_alone_change_nothing() {
    let Some(host) = Host::new() else { return };
    let mut running = host.run(WEB);
    let mut higher = mesh(WEB);
    higher.limits = limits(100_000);
    let pass = running.follow(&higher);
    assert_eq!((pass.operations, pass.replaced), (0, false));
    assert_eq!(running.room(), LIMITS);
}

#[test]
fn a_mesh_beyond_its_limits_is_an_error_that_names_the_limit_and_changes_nothing() {
    let Some(mut running) = routed(WEB) else {
        return;
    };
    let error = running
        .try_follow(&mesh(&with(LIMITS.services)))
        .unwrap_err();
    let text = chain(&error);
    assert!(text.contains("[limits] services"), "{text}");
    assert_eq!(running.reload(WEB).operations, 0);
    call("10.96.0.10:80").unwrap();
}

/// Each shares what sockets remember with its successor by a name in a file system, for a moment.
#[test]
fn tables_of_several_meshes_that_grow_at_a_time_are_not_mixed_up() {
    if !require::met() {
        return;
    }
    let grow = || {
        let host = Host::new().expect("a host, like before");
        let _backends = Echo::everywhere(&[8080]);
        let mut mesh = mesh(WEB);
        let mut running = host.idle();
        running.follow(&mesh);
        let client = Client::tcp4();
        assert_eq!(client.connect("10.96.0.10:80"), Ok(()));
        for services in [80, 200, 450, 1_100] {
            mesh = self::mesh(&with(services));
            mesh.limits = limits(4_000);
            assert!(running.follow(&mesh).replaced);
            assert_eq!(client.peer(), Ok(address("10.96.0.10:80")));
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(grow);
        }
    });
}
