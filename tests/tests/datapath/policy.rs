//! Which endpoint a policy picks, and how often.

use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::spread::{Spread, assert_weights};
use nix::errno::Errno;

const VIP: &str = "10.96.0.10:80";

/// Where so many connects end up.
fn draw(to: &str, connects: u64) -> Spread {
    let mut spread = Spread::new();
    for _ in 0..connects {
        let reached = call(to).unwrap_or_else(|error| panic!("{to}: {error}"));
        *spread.entry(reached.ip().to_string()).or_default() += 1;
    }
    spread
}

/// A service of endpoints in various places, for a host in eu-1/eu-1a/rack-a.
fn located(policy: &str, endpoints: &[(&str, &str, u32)]) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(address, locality, weight)| {
            format!(r#"{{ address = "{address}", locality = "{locality}", weight = {weight} }}"#)
        })
        .collect();
    format!(
        r#"
        [node]
        locality = "eu-1/eu-1a/rack-a"

        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        {policy}
        endpoints = [{}]
        "#,
        endpoints.join(",\n")
    )
}

#[test]
fn the_random_policy_holds_equal_weights() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let names: Vec<_> = (2..12).map(|last| format!("127.0.0.{last}")).collect();
    let _mesh = host.run(&format!(
        r#"
        [services.web]
        vips = ["10.96.0.10"]
        ports = ["80:8080"]
        endpoints = {names:?}
        "#
    ));
    let weights: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    assert_weights(&draw(VIP, 5000), &weights);
}

#[test]
fn the_random_policy_holds_unequal_weights_and_ignores_localities() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let endpoints = [
        ("127.0.0.2", "eu-1/eu-1a/rack-a", 1),
        ("127.0.0.3", "us-1/us-1a/rack-x", 7),
        ("127.0.0.4", "eu-1/eu-1b/rack-b", 40),
        ("127.0.0.5", "eu-1/eu-1a/rack-a", 0),
        ("127.0.0.6", "eu-1/eu-1a/rack-a", 52),
    ];
    let _mesh = host.run(&located(r#"policy = "random""#, &endpoints));
    let weights = endpoints.map(|(name, _, weight)| (name, u64::from(weight)));
    assert_weights(&draw(VIP, 5000), &weights);
    assert_weights(&draw("[fd00:96::10]:80", 2000), &weights);
}

#[test]
fn weights_follow_a_reload() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let with = |one, two| {
        let endpoints = [
            ("127.0.0.2", "eu-1/eu-1a", one),
            ("127.0.0.3", "eu-1/eu-1b", two),
        ];
        located("", &endpoints)
    };
    let mut mesh = host.run(&with(1, 1));
    assert_weights(&draw(VIP, 1000), &[("127.0.0.2", 1), ("127.0.0.3", 1)]);
    mesh.reload(&with(9, 1));
    assert_weights(&draw(VIP, 1000), &[("127.0.0.2", 9), ("127.0.0.3", 1)]);
    mesh.reload(&with(0, 1));
    assert_weights(&draw(VIP, 100), &[("127.0.0.2", 0), ("127.0.0.3", 1)]);
}

#[test]
fn the_strict_policy_takes_the_nearest_or_nothing() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let strict = r#"
        policy = "strict"
        prefer = ["region", "zone"]
    "#;
    let near = [
        ("127.0.0.2", "eu-1/eu-1a/rack-a", 1),
        ("127.0.0.3", "eu-1/eu-1a/rack-z", 3),
        ("127.0.0.4", "eu-1/eu-1b/rack-b", 9),
        ("127.0.0.5", "us-1/us-1a/rack-x", 9),
    ];
    let mut mesh = host.run(&located(strict, &near));
    assert_weights(&draw(VIP, 2000), &[("127.0.0.2", 1), ("127.0.0.3", 3)]);
    mesh.reload(&located(strict, &near[2..]));
    assert_eq!(call(VIP), Err(Errno::EHOSTUNREACH));
    assert_eq!(call("[fd00:96::10]:80"), Err(Errno::EHOSTUNREACH));
}

#[test]
fn the_failover_policy_goes_one_step_further_each_time_the_nearest_are_gone() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let failover = r#"
        policy = "failover"
        prefer = ["region", "zone", "subzone"]
    "#;
    // Two at each priority, nearest first.
    let endpoints = [
        ("127.0.0.2", "eu-1/eu-1a/rack-a", 1),
        ("127.0.0.3", "eu-1/eu-1a/rack-a", 2),
        ("127.0.0.4", "eu-1/eu-1a/rack-b", 1),
        ("127.0.0.5", "eu-1/eu-1a/rack-c", 2),
        ("127.0.0.6", "eu-1/eu-1b/rack-a", 1),
        ("127.0.0.7", "eu-1/eu-1c/rack-a", 2),
        ("127.0.0.8", "us-1/eu-1a/rack-a", 1),
        ("127.0.0.9", "ap-1/eu-1a/rack-a", 2),
    ];
    let mut mesh = host.idle();
    for step in (0..endpoints.len()).step_by(2) {
        mesh.reload(&located(failover, &endpoints[step..]));
        let (one, two) = (endpoints[step], endpoints[step + 1]);
        assert_weights(&draw(VIP, 1000), &[(one.0, 1), (two.0, 2)]);
        assert_weights(&draw("[fd00:96::10]:80", 100), &[(one.0, 1), (two.0, 2)]);
    }
    // Weight 0 is as good as gone.
    let mut drained = endpoints;
    drained[0].2 = 0;
    drained[1].2 = 0;
    mesh.reload(&located(failover, &drained));
    assert_weights(&draw(VIP, 1000), &[("127.0.0.4", 1), ("127.0.0.5", 2)]);
    mesh.reload(&located(failover, &[]));
    assert_eq!(call(VIP), Err(Errno::EHOSTUNREACH));
}

#[test]
fn the_failover_policy_compares_networks_nodes_and_clusters_too() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::brief("[::]:8080");
    let mesh = |endpoints: &str| {
        format!(
            r#"
            [node]
            name = "me"
            network = "dc1"
            cluster = "prod"

            [services.web]
            vips = ["10.96.0.10"]
            ports = ["80:8080"]
            policy = "failover"
            prefer = ["cluster", "network", "node"]
            endpoints = [{endpoints}]
            "#
        )
    };
    let near = r#"{ address = "127.0.0.2", cluster = "prod", network = "dc1", node = "me" },"#;
    let beside = r#"{ address = "127.0.0.3", cluster = "prod", network = "dc1", node = "you" },"#;
    let elsewhere = r#"{ address = "127.0.0.4", cluster = "prod", network = "dc2", node = "me" },"#;
    let foreign = r#"{ address = "127.0.0.5", cluster = "test", network = "dc1", node = "me" }"#;
    let all = [near, beside, elsewhere, foreign];
    let mut running = host.idle();
    for (first, name) in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]
        .into_iter()
        .enumerate()
    {
        running.reload(&mesh(&all[first..].concat()));
        for _ in 0..50 {
            assert_eq!(call(VIP), Ok(address(&format!("{name}:8080"))));
        }
    }
}
