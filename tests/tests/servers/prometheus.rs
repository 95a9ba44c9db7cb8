//! The real Prometheus reads the metrics of a mesh under traffic through the agent: the files of
//! `examples-config/monitoring`.

mod totals;

use crate::PROGRAM;
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::prometheus::{Prometheus, check, program};
use kmesh_lite_tests::proxy::example;
use kmesh_lite_tests::require;
use kmesh_lite_tests::scrape::get;
use nix::errno::Errno;
use serde_json::Value;
use std::fs;
use std::path::Path;

const MESH: &str = r#"
    [metrics]
    listen = "127.0.0.1:9900"

    [waypoints.gate]
    address = "127.0.0.9:15008"
    header = "none"

    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2", "127.0.0.3"]

    [services.deaf]
    vips = ["10.96.0.11"]
    ports = ["80:9"]
    endpoints = ["127.0.0.2"]

    [services.gated]
    vips = ["10.96.0.12"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.4"]
    waypoint = "gate"

    [services.empty]
    vips = ["10.96.0.13"]
    ports = [80]
    endpoints = []
"#;

/// Every query of the dashboard, with its panel.
fn queries() -> Vec<(String, String)> {
    let text = fs::read_to_string(example("monitoring/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$instance", ".*")
                .replace("$service", ".*")
                .replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 20);
    queries
}

#[test]
fn each_alert_fires_for_a_host_that_deserves_it_and_for_no_other() {
    let Some(promtool) = program("promtool") else {
        return require::skip_server("prometheus is neither installed nor unpacked");
    };
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/rules.test.yml");
    check(&promtool, &["test", "rules", &rules.to_string_lossy()], "");
}

#[test]
fn prometheus_counts_what_the_test_counts_and_the_dashboard_shows_it() {
    let programs = program("prometheus").zip(program("promtool"));
    let Some((prometheus, promtool)) = programs else {
        return require::skip_server("prometheus is neither installed nor unpacked");
    };
    let Some(host) = Host::new() else { return };
    let _servers = Echo::everywhere(&[8080, 15_008]);
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &limited(MESH));
    daemon.wait_until("metrics are served", |_| {
        get("127.0.0.1:9900", "/metrics", "").is_ok_and(|scrape| scrape.status == 200)
    });
    let prometheus = Prometheus::start(&prometheus, &[]);

    // The test's own count: what its clients saw.
    let (mut web, mut gated, mut refused) = (0, 0, 0);
    let mut traffic = || {
        for _ in 0..5 {
            web += u32::from(call("10.96.0.10:80").is_ok());
            gated += u32::from(call("10.96.0.12:80").is_ok());
            refused += u32::from(call("10.96.0.11:80") == Err(Errno::ECONNREFUSED));
            assert!(call("10.96.0.13:80").is_err());
        }
        (web, gated, refused)
    };
    traffic();
    // Rates need two samples of every series.
    let seen = || {
        prometheus.query("count_over_time(kmesh_lite_service_connections_failed_total[5m]) >= 2")
    };
    assert!(eventually(|| !seen().is_empty()), "{}", prometheus.log());
    let held = Client::tcp(address("10.96.0.10:80"));
    assert_eq!(held.connect("10.96.0.10:80"), Ok(()));
    let (web, gated, refused) = traffic();
    assert_eq!((web, gated, refused), (10, 10, 10));

    // The dashboard.
    for (panel, query) in queries() {
        let has_data = eventually(|| !prometheus.query(&query).is_empty());
        assert!(has_data, "{panel} has no data: {query}");
    }

    // The rules: each can be evaluated, and the service without endpoints is noticed.
    let alert = "ALERTS{alertname=\"KmeshLiteNoUsableEndpoint\",service=\"empty\"}";
    assert!(eventually(|| prometheus.query(alert) == [1.0]));
    let groups = prometheus.ask("/api/v1/rules").unwrap();
    let rules = groups["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 5);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }

    // Its own tool has nothing to say.
    let text = get("127.0.0.1:9900", "/metrics", "").unwrap().text;
    check(&promtool, &["check", "metrics"], &text);
    let rules = example("monitoring/rules.yml");
    check(&promtool, &["check", "rules", &rules.to_string_lossy()], "");
    let config = example("monitoring/prometheus.yml");
    check(
        &promtool,
        &["check", "config", &config.to_string_lossy()],
        "",
    );
    drop(held);

    // A daemon that goes is noticed.
    daemon.signal(nix::sys::signal::Signal::SIGKILL);
    daemon.wait();
    let down = "up{job=\"kmesh-lite\"}";
    assert!(eventually(|| prometheus.query(down) == [0.0]));
}
