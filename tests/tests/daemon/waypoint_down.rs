//! A waypoint that is not there: its clients are told at once, and so is whoever asks the daemon.

use crate::PROGRAM;
use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use nix::errno::Errno;
use serde_json::Value;

/// One waypoint of each header at an address of this host where nobody listens, and one at an
/// address that no route leads to.
const MESH: &str = r#"
    [waypoints.plain]
    address = "127.0.1.1:15008"
    header = "none"

    [waypoints.told]
    address = "127.0.1.1:15008"
    header = "proxy-v2"

    [waypoints.waits]
    address = "127.0.1.1:15008"
    header = "tlv"
    server_first = true

    [waypoints.far]
    address = "192.0.2.1:15008"
    header = "proxy-v2"

    [services.plain]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    waypoint = "plain"
    endpoints = ["127.0.0.2"]

    [services.told]
    vips = ["10.96.0.11"]
    ports = ["80:8080"]
    waypoint = "told"
    endpoints = ["127.0.0.2"]

    [services.waits]
    vips = ["10.96.0.12"]
    ports = ["80:8080"]
    waypoint = "waits"
    endpoints = ["127.0.0.2"]

    [services.far]
    vips = ["10.96.0.13"]
    ports = ["80:8080"]
    waypoint = "far"
    endpoints = ["127.0.0.2"]
"#;

const SERVICES: [(&str, &str, Errno, &str); 4] = [
    (
        "plain",
        "10.96.0.10:80",
        Errno::ECONNREFUSED,
        "127.0.1.1:15008",
    ),
    (
        "told",
        "10.96.0.11:80",
        Errno::ECONNREFUSED,
        "127.0.1.1:15008",
    ),
    (
        "waits",
        "10.96.0.12:80",
        Errno::ECONNREFUSED,
        "127.0.1.1:15008",
    ),
    (
        "far",
        "10.96.0.13:80",
        Errno::ENETUNREACH,
        "192.0.2.1:15008",
    ),
];

/// Connects to each of them.
const EACH: usize = 3;

/// What status says of a service.
fn status(daemon: &Daemon, name: &str) -> Value {
    daemon.json(&["status", name])["datapath"]["services"][0].take()
}

#[test]
fn clients_get_the_error_of_a_waypoint_that_is_down_and_status_and_explain_tell_where_they_were_sent()
 {
    let Some(host) = Host::new() else { return };
    let daemon = Daemon::start(PROGRAM, &host, Some(&limited(MESH)));
    for (name, to, error, at) in SERVICES {
        for connects in 1..=EACH {
            assert_eq!(call(to), Err(error), "{to}");
            let status = status(&daemon, name);
            assert_eq!(status["waypoint"], name);
            assert_eq!(status["connects"], connects);
        }
        // The daemon does not claim to know whether the waypoint is up: it says what the kernel
        // does, and that is to send clients there.
        let explained = daemon.json(&["explain", to]);
        assert_eq!(explained["verdict"], "redirect");
        assert_eq!(explained["outcome"], "service_waypoint");
        let text = format!("redirected to waypoint {name} at {at}");
        assert_eq!(explained["text"], text);
    }
    let outcomes = daemon.json(&["status"])["datapath"]["outcomes"].take();
    for outcome in outcomes.as_array().unwrap() {
        let count = if outcome["name"] == "service_waypoint" {
            EACH * SERVICES.len()
        } else {
            0
        };
        assert_eq!(outcome["count"], count, "{outcome}");
    }
    assert_eq!(daemon.state(), "routing");
    // Once it is there, it is used: nothing remembers that it was not.
    let _waypoint = Echo::everywhere(&[15008]);
    assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.1.1:15008")));
}
