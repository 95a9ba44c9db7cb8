//! Ways around the virtual addresses of a service: what policies say of its clients holds at the addresses of its
//! endpoints and ahead of its waypoint, and is asked once.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, Reached, address, call, call_address, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, Running};
use nix::errno::Errno;
use std::net::SocketAddr;

const DENIED: Reached = Err(Errno::EACCES);
const FOUR: &str = "127.0.0.2:8080";
const SIX: &str = "[fd00:2::2]:8080";
const WAYPOINT: &str = "127.0.1.1:15008";

/// A host with a cgroup for each sort of programs: those whom the policy allows, others, a waypoint, and one that the
/// mesh leaves alone.
struct Site {
    running: Running,
    shop: Cgroup,
    batch: Cgroup,
    proxy: Cgroup,
    backup: Cgroup,
    _servers: Vec<Echo>,
    _host: Host,
}

impl Site {
    /// `service` is more of the service.
    fn new(service: &str) -> Option<Self> {
        let host = Host::new()?;
        host.add(&["fd00:2::2"]);
        let servers = Echo::everywhere(&[8080, 8081, 15008]);
        let below = |name| host.cgroup.child(name).unwrap();
        let [shop, batch, proxy, backup] = ["shop", "batch", "proxy", "backup"].map(below);
        let running = host.run(&format!(
            r#"
            [capture]
            bypass = [{:?}]

            [waypoints.edge]
            address = "{WAYPOINT}"
            header = "none"
            unit = {:?}

            [services.web]
            vips = ["10.96.0.10", "fd00:96::10"]
            ports = ["80:8080", "53:5353/udp"]
            endpoints = ["127.0.0.2", "fd00:2::2"]
            {service}

            [policies.shops]
            action = "allow"
            services = ["web"]
            clients = [{:?}]
            "#,
            backup.path(),
            proxy.path(),
            shop.path(),
        ));
        Some(Self {
            running,
            shop,
            batch,
            proxy,
            backup,
            _servers: servers,
            _host: host,
        })
    }

    /// How many connects were refused because of the policy.
    fn denials(&mut self) -> u64 {
        self.running.outcomes()[&Outcome::RefuseDenied]
    }
}

fn from(cgroup: &Cgroup, to: SocketAddr) -> Reached {
    cgroup.run(|| call_address(to)).unwrap()
}

/// Endpoints by their own addresses, with where a connect ends up.
fn direct() -> [(SocketAddr, SocketAddr); 3] {
    [
        (address(FOUR), address(FOUR)),
        (mapped(FOUR), address(FOUR)),
        (address(SIX), address(SIX)),
    ]
}

#[test]
fn a_client_that_is_denied_cannot_connect_to_an_endpoint_by_its_own_address() {
    let Some(mut site) = Site::new("") else {
        return;
    };
    for (to, reached) in direct() {
        for allowed in [&site.shop, &site.proxy, &site.backup] {
            assert_eq!(from(allowed, to), Ok(reached), "{:?}", allowed.path());
        }
        assert_eq!(from(&site.batch, to), DENIED, "{to}");
        // Of an endpoint, the policy is about the ports of the service.
        let beside = |at: SocketAddr| SocketAddr::new(at.ip(), 8081);
        assert_eq!(from(&site.batch, beside(to)), Ok(beside(reached)));
    }
    assert_eq!(site.denials(), 3);
    for (client, to) in [
        (Client::udp4(), "127.0.0.2:5353"),
        (Client::udp6(), "[::ffff:127.0.0.2]:5353"),
        (Client::udp6(), "[fd00:2::2]:5353"),
    ] {
        let denied = site.batch.run(|| client.connect(to)).unwrap();
        assert_eq!(denied, Err(Errno::EACCES), "{to}");
        assert_eq!(site.shop.run(|| client.connect(to)).unwrap(), Ok(()));
    }
}

#[test]
fn a_client_is_judged_ahead_of_the_waypoint_and_what_the_waypoint_passes_on_is_not() {
    let Some(mut site) = Site::new("waypoint = \"edge\"") else {
        return;
    };
    let vips = [
        address("10.96.0.10:80"),
        mapped("10.96.0.10:80"),
        address("[fd00:96::10]:80"),
    ];
    let endpoints = [address(FOUR), address(SIX)];
    for to in vips {
        assert_eq!(from(&site.shop, to), Ok(address(WAYPOINT)), "{to}");
        assert_eq!(from(&site.batch, to), DENIED, "{to}");
        // The waypoint is none of those whom the policy allows.
        let passed_on = from(&site.proxy, to);
        assert!(
            passed_on.is_ok_and(|it| endpoints.contains(&it)),
            "{to}: {passed_on:?}"
        );
    }
    for (to, reached) in direct() {
        assert_eq!(from(&site.proxy, to), Ok(reached), "{to}");
        assert_eq!(from(&site.batch, to), DENIED, "{to}");
    }
    assert_eq!(site.denials(), 6);
    // The waypoint's own address is nobody's endpoint, so it says for itself whom it serves.
    assert_eq!(
        site.batch.run(|| call(WAYPOINT)).unwrap(),
        Ok(address(WAYPOINT))
    );
}
