use super::*;
use crate::config::{Fragments, Host, Loader, Origin};
use crate::model::Facts;
use crate::tables::{Actual, build};
use kmesh_lite_common::{
    Address, Connection, Ending, Port, Protocol, ServiceId, Stage, TrafficKey,
};
use std::net::{IpAddr, Ipv4Addr};

fn tables() -> (Tables, ServiceId) {
    let text = "services.web = { vips = ['10.96.0.10'], ports = [80], endpoints = ['192.0.2.1'] }"
        .to_owned();
    let fragments: Fragments = [(Origin::new("mesh.toml"), text)].into_iter().collect();
    let mesh = Loader::default()
        .load(&fragments, &Host::default())
        .mesh
        .unwrap();
    let tables = build(&mesh, &Facts::default(), &Actual::default(), 0)
        .unwrap()
        .tables;
    let web = *tables.rows.services.keys().next().unwrap();
    (tables, web)
}

/// What is added up: so many connections by cgroup, of which none is open.
fn sums(service: ServiceId, counts: &[(u64, u64)]) -> Accounts {
    let mut accounts = Accounts::default();
    for (cgroup, count) in counts {
        let key = TrafficKey {
            cgroup: *cgroup,
            service: Some(service),
            ..TrafficKey::default()
        };
        let mut sum = Traffic {
            established: *count,
            ..Traffic::default()
        };
        sum.ended[Ending::Closed.0 as usize] = *count;
        accounts.sums.insert(key, sum);
    }
    accounts
}

fn open(service: ServiceId, cgroup: u64, user: u32) -> Living {
    Living {
        cookie: cgroup,
        connection: Connection {
            address: Address::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
            since: 0,
            cgroup,
            service: Some(service),
            endpoint: None,
            backend: None,
            waypoint: None,
            process: 1,
            user,
            owner: 1,
            port: Port::new(80),
            protocol: Protocol::Tcp,
            stage: Stage::default(),
        },
    }
}

fn paths(named: &[(u64, &str)]) -> BTreeMap<u64, PathBuf> {
    let named = named.iter();
    named.map(|(id, path)| (*id, PathBuf::from(path))).collect()
}

const SHOP: (u64, &str) = (7, "/system.slice/shop.service");

#[test]
fn what_grows_between_two_looks_was_seen_then() {
    let (tables, web) = tables();
    let mut seen = Seen::default();
    seen.look(&tables, &sums(web, &[(7, 3)]), &[], paths(&[SHOP]), 10);
    // Before anybody looked.
    let before = Met {
        connections: 3,
        first: None,
        last: None,
    };
    assert_eq!(seen.clients["web"]["shop.service"], before);
    for (at, count) in [(20, 5), (30, 5)] {
        seen.look(&tables, &sums(web, &[(7, count)]), &[], BTreeMap::new(), at);
    }
    let then = Met {
        connections: 5,
        first: Some(20),
        last: Some(20),
    };
    assert_eq!(seen.clients["web"]["shop.service"], then);
    assert_eq!(seen.since, Some(10));
}

#[test]
fn the_next_run_of_a_unit_is_the_same_client() {
    let (tables, web) = tables();
    let mut seen = Seen::default();
    let paths = |id| paths(&[(id, SHOP.1)]);
    seen.look(&tables, &sums(web, &[(7, 1)]), &[], paths(7), 10);
    // Its first cgroup is gone, and what was added up of it is nobody's.
    seen.look(&tables, &sums(web, &[(0, 1), (8, 2)]), &[], paths(8), 20);
    assert_eq!(seen.clients["web"].len(), 1);
    assert_eq!(seen.clients["web"]["shop.service"].connections, 3);
    assert!(seen.nameless.is_empty(), "{seen:?}");
}

#[test]
fn a_connection_that_stays_open_is_seen_at_every_look() {
    let (tables, web) = tables();
    let mut seen = Seen::default();
    let open = [open(web, 7, 0)];
    for at in [10, 20] {
        seen.look(&tables, &Accounts::default(), &open, paths(&[SHOP]), at);
    }
    let expected = Met {
        connections: 1,
        first: Some(10),
        last: Some(20),
    };
    assert_eq!(seen.clients["web"]["shop.service"], expected);
}

#[test]
fn programs_in_the_root_cgroup_are_named_by_user_and_those_that_are_gone_by_nothing() {
    let (tables, web) = tables();
    let mut seen = Seen::default();
    let accounts = sums(web, &[(1, 2), (9, 4)]);
    let open = [open(web, 1, 1000)];
    seen.look(&tables, &accounts, &open, paths(&[(1, "/")]), 10);
    assert_eq!(seen.clients["web"]["user:1000"].connections, 1);
    assert_eq!(seen.nameless["web"].connections, 5);
}

#[test]
fn what_was_seen_outlives_the_process() {
    let (tables, web) = tables();
    let mut seen = Seen::default();
    seen.look(&tables, &sums(web, &[(7, 3)]), &[], paths(&[SHOP]), 10);
    let kept = serde_json::to_string(&seen).unwrap();
    let mut next: Seen = serde_json::from_str(&kept).unwrap();
    assert_eq!(next.clients, seen.clients);
    // What was counted then is not counted again.
    next.look(&tables, &sums(web, &[(7, 3)]), &[], paths(&[SHOP]), 50);
    assert_eq!(next.clients, seen.clients);
    assert_eq!(next.since, Some(10));
}

#[test]
fn pairs_that_find_no_room_are_counted() {
    let (tables, web) = tables();
    let mut seen = Seen::default();
    let counts: Vec<_> = (1..=MOST as u64 + 2).map(|id| (id, 1)).collect();
    let named: Vec<_> = counts
        .iter()
        .map(|(id, _)| (*id, format!("/x/{id}")))
        .collect();
    let paths = named
        .into_iter()
        .map(|(id, path)| (id, path.into()))
        .collect();
    seen.look(&tables, &sums(web, &counts), &[], paths, 10);
    assert_eq!(seen.clients["web"].len(), MOST);
    assert_eq!(seen.left_out, 2);
}

mod arrivals {
    use super::*;
    use crate::kernel::Accepted;
    use kmesh_lite_common::ArrivalKey;

    fn served() -> Served {
        let text = "services.web = { vips = ['10.96.0.10'], ports = ['80:8080'], endpoints = ['192.0.2.1', '192.0.2.2'] }";
        let fragments = [(Origin::new("mesh.toml"), text.to_owned())];
        let fragments: Fragments = fragments.into_iter().collect();
        let loaded = Loader::default().load(&fragments, &Host::default());
        let own = BTreeSet::from(["192.0.2.1".parse().unwrap()]);
        Served::of(&loaded.mesh.unwrap(), &own)
    }

    fn arrived(source: &str, count: u64) -> (ArrivalKey, u64) {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let key = ArrivalKey {
            local: address("192.0.2.1"),
            source: address(source),
            port: Port::new(8080),
            zero: 0,
        };
        (key, count)
    }

    fn standing(local: &str, remote: &str) -> Accepted {
        Accepted {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            cookie: 1,
        }
    }

    fn met(seen: &Seen, from: &str) -> Option<Met> {
        seen.sources
            .get("web")?
            .get(&from.parse().unwrap())
            .copied()
    }

    #[test]
    fn sources_are_those_of_what_was_counted_and_of_what_stands() {
        let mut seen = Seen::default();
        let counts = BTreeMap::from([arrived("192.0.2.2", 4), arrived("::", 2)]);
        let stands = [
            standing("192.0.2.1:8080", "203.0.113.9:40000"),
            standing("192.0.2.1:8080", "203.0.113.9:40001"),
            // Another port, and an endpoint elsewhere.
            standing("192.0.2.1:22", "203.0.113.10:40000"),
            standing("192.0.2.2:8080", "203.0.113.11:40000"),
        ];
        seen.look_at_arrivals(&served(), &counts, &stands, 10);
        let before = Met {
            connections: 4,
            first: None,
            last: None,
        };
        assert_eq!(met(&seen, "192.0.2.2"), Some(before));
        let stood = Met {
            connections: 2,
            first: Some(10),
            last: Some(10),
        };
        assert_eq!(met(&seen, "203.0.113.9"), Some(stood));
        assert_eq!(seen.sources["web"].len(), 2, "{seen:?}");
        assert_eq!(seen.strangers["web"].connections, 2);
        let counts = BTreeMap::from([arrived("192.0.2.2", 5), arrived("::", 2)]);
        seen.look_at_arrivals(&served(), &counts, &[], 20);
        let then = Met {
            connections: 5,
            first: Some(20),
            last: Some(20),
        };
        assert_eq!(met(&seen, "192.0.2.2"), Some(then));
        assert_eq!(seen.strangers["web"].connections, 2);
    }
}
