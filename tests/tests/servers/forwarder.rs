//! Our own forwarder as a waypoint of a curl that knows nothing.

use crate::PROGRAM;
use kmesh_lite_tests::page::{call, get, gets_nothing, is_no_open_proxy, pages};
use kmesh_lite_tests::proxy::{FOUR, SIX, forwarder, host};
use std::fs;
use std::path::Path;

/// A mesh whose waypoint is our own forwarder, in a cgroup.
fn forwarded(header: &str, unit: &Path) -> String {
    format!(
        r#"
        [waypoints.four]
        address = "127.0.0.1:15008"
        header = "{header}"
        unit = {unit:?}

        [waypoints.six]
        address = "[::1]:15009"
        header = "{header}"
        unit = {unit:?}

        [services.one]
        vips = ["10.96.0.80", "fd00:96::80"]
        ports = ["80:8080"]
        waypoint = "four"
        endpoints = ["192.168.1.80"]

        [services.two]
        vips = ["10.96.0.81", "fd00:96::81"]
        ports = ["80:8081"]
        waypoint = "four"
        endpoints = ["192.168.1.81"]

        [services.six]
        vips = ["fd00:96::82", "fd00:97::82"]
        ports = ["80:8081"]
        waypoint = "six"
        endpoints = ["fd00:1::82"]

        [endpoints.captured]
        address = "192.168.1.83"
        waypoint = "four"
        "#
    )
}

#[test]
fn our_forwarder_takes_every_header_to_what_it_asks_for() {
    let backends = ["192.168.1.80", "192.168.1.81", "192.168.1.83", "fd00:1::82"];
    let Some(host) = host(&["curl"], &backends) else {
        return;
    };
    pages(&[8080, 8081]);
    for header in ["tlv", "proxy-v2"] {
        let unit = host.cgroup.child("forwarder").unwrap();
        let text = forwarded(header, unit.path());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.toml");
        fs::write(&file, &text).unwrap();
        let config = file.to_str().unwrap();
        let options = ["--accept", header, "--config", config];
        let _four = forwarder(PROGRAM, &unit, "four", "127.0.0.1:15008", &options);
        let networks = ["--accept", header, "--allow", "fd00:96::/64"];
        let mut six = forwarder(PROGRAM, &unit, "six", "[::1]:15009", &networks);
        let _mesh = host.run(&text);
        for call in [
            call(Some(FOUR), "10.96.0.80:80", &["192.168.1.80:8080"]),
            call(None, "[fd00:96::80]:80", &["192.168.1.80:8080"]),
            call(Some(FOUR), "10.96.0.81:80", &["192.168.1.81:8081"]),
            call(None, "[fd00:96::81]:80", &["192.168.1.81:8081"]),
            call(Some(SIX), "[fd00:96::82]:80", &["[fd00:1::82]:8081"]),
            // The backend is captured, and the request does not say a word about it.
            call(Some(FOUR), "192.168.1.83:8080", &["192.168.1.83:8080"]),
        ] {
            let (page, _) = get(&call);
            let (answered, _) = page.split_once(" for ").unwrap();
            assert!(call.by.contains(&answered), "{header}: {}: {page}", call.to);
        }
        is_no_open_proxy("127.0.0.1:15008");
        // The service is in the mesh, but this forwarder does not allow it.
        gets_nothing(&["http://[fd00:97::82]/"]);
        six.logs("destination [fd00:97::82]:80 is not allowed");
    }
}
