//! Tables that are replaced by larger ones while connections are open and more are made.

use kmesh_lite::model::Limits;
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, LIMITS, Stop, chain, mesh, routed};
use kmesh_lite_tests::require;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// So many services more, each with its own endpoint.
fn with(services: u32) -> String {
    let more = (0..services).map(|number| {
        format!(
            "[services.s{number}]\nvips = ['10.97.{0}.{1}']\nports = ['80:8080']\nendpoints = ['127.1.{0}.{1}']\n",
            number / 250,
            number % 250 + 1
        )
    });
    std::iter::once(WEB.to_owned()).chain(more).collect()
}

fn limits(of: u32) -> Limits {
    Limits {
        addresses: of,
        frontends: of,
        services: of,
        endpoints: of,
        backends: of,
        waypoints: of,
        connections: LIMITS.connections,
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
        for step in 1..=8 {
            mesh = self::mesh(&with(step * 60));
            mesh.limits = limits(512 + step * 64);
            let pass = running.follow(&mesh);
            assert!(pass.replaced);
            assert_eq!(running.limits().endpoints, 512 + step * 64);
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
    mesh.limits.services = LIMITS.services * 2;
    assert!(running.follow(&mesh).replaced);
    let after = running.counts();
    assert_eq!(before.outcomes, after.outcomes);
    assert_eq!(before.connects, after.connects);
    assert_eq!(before.endpoints.values().sum::<u64>(), 25);
    assert_eq!(before.endpoints, after.endpoints);
}

#[test]
fn tables_stay_as_large_when_limits_are_lowered() {
    let Some(host) = Host::new() else { return };
    let mut running = host.run(WEB);
    let mut smaller = mesh(WEB);
    smaller.limits = limits(16);
    let pass = running.follow(&smaller);
    assert!(!pass.replaced);
    assert_eq!(running.limits(), LIMITS);
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
        for step in 1..=6 {
            mesh.limits.endpoints = LIMITS.endpoints + step;
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
