use super::*;
use crate::config::{Fragments, Host, Loader, Origin};
use std::net::SocketAddr;

/// Services with these endpoints and keys.
fn mesh(services: &[(&str, &str, &str)]) -> Mesh {
    let texts = services
        .iter()
        .enumerate()
        .map(|(at, (name, endpoints, keys))| {
            format!(
                "[services.{name}]
             vips = ['10.96.0.{}']
             ports = [80]
             endpoints = [{endpoints}]
             {keys}
             ",
                at + 1
            )
        });
    let text = texts.collect::<Vec<_>>().join("\n");
    let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
    let loaded = Loader::default().load(&fragments, &Host::default());
    loaded.mesh.expect("a good mesh")
}

/// Health with the facts that follow from it.
#[derive(Default)]
struct Followed {
    health: Health,
    standings: OrdMap<Name, Arc<Standings>>,
    now: u64,
}

impl Followed {
    fn follow(&mut self, services: &[(&str, &str, &str)]) -> bool {
        self.health.follow(&mesh(services), &mut self.standings)
    }

    fn probed(&self) -> Vec<String> {
        self.health
            .probed()
            .map(|it| it.address.to_string())
            .collect()
    }

    /// What was found of the first target with that address.
    fn find(&mut self, address: &str, healthy: bool) -> Option<Turn> {
        self.now += 1;
        let address: SocketAddr = address.parse().unwrap();
        let target = self.health.probed().find(|it| it.address == address);
        let target = target.expect("it is probed").clone();
        let condition = Condition {
            healthy,
            since: self.now,
            reason: "seen".to_owned(),
        };
        let mut facts = Vec::new();
        let turn = self.health.find(&target, condition, &mut facts);
        let mut known = crate::model::Facts {
            standings: self.standings.clone(),
            ..Default::default()
        };
        for fact in facts {
            known.learn(fact);
        }
        self.standings = known.standings;
        turn
    }

    /// Endpoints that are down, as `service/address`.
    fn down(&self) -> Vec<String> {
        let all = self.standings.iter().flat_map(|(name, standings)| {
            let down = standings.iter().filter(|(_, it)| it.down.is_some());
            down.map(move |(member, it)| {
                format!("{name}/{} {}", member.address, it.down.unwrap().as_str())
            })
        });
        all.collect()
    }
}

const TCP: &str = "health = 'tcp'";

#[test]
fn one_socket_is_probed_once_for_all_services_that_have_it() {
    let mut it = Followed::default();
    it.follow(&[
        ("a", "'10.0.0.1'", TCP),
        ("b", "'10.0.0.1', '10.0.0.2:81'", TCP),
    ]);
    assert_eq!(it.probed(), ["10.0.0.1:80", "10.0.0.2:81"]);
    let turn = it.find("10.0.0.1:80", false).unwrap();
    assert_eq!(turn.services.len(), 2);
    assert_eq!(it.down(), ["a/10.0.0.1 unhealthy", "b/10.0.0.1 unhealthy"]);
    assert_eq!(it.find("10.0.0.1:80", false), None, "that is known");
    assert_eq!(it.find("10.0.0.1:80", true).unwrap().lasted, Some(2));
    assert!(it.down().is_empty());
}

#[test]
fn what_does_not_differ_for_a_probe_is_no_other_one() {
    let mut it = Followed::default();
    let with = |keys: &str| format!("health = {{ check = 'tcp', {keys} }}");
    let (port, initial) = (with("port = 80"), with("initial = 'unhealthy'"));
    it.follow(&[("a", "'10.0.0.1:81'", &port), ("b", "'10.0.0.1'", &initial)]);
    assert_eq!(it.probed(), ["10.0.0.1:80"]);
    assert_eq!(it.down(), ["b/10.0.0.1 unhealthy"], "nothing is known yet");
    it.find("10.0.0.1:80", true);
    assert!(it.down().is_empty());
}

#[test]
fn what_is_known_stays_when_the_file_changes() {
    let mut it = Followed::default();
    it.follow(&[("a", "'10.0.0.1', '10.0.0.2'", TCP)]);
    it.find("10.0.0.1:80", false);
    // Another endpoint, another name, and another way to probe.
    assert!(it.follow(&[("a", "'10.0.0.1', '10.0.0.3'", TCP)]));
    assert_eq!(it.down(), ["a/10.0.0.1 unhealthy"]);
    assert!(it.follow(&[("z", "'10.0.0.1'", TCP)]));
    assert_eq!(it.down(), ["z/10.0.0.1 unhealthy"]);
    assert!(it.follow(&[("z", "'10.0.0.1'", "health = 'http'")]));
    assert_eq!(it.down(), ["z/10.0.0.1 unhealthy"]);
    assert!(!it.follow(&[("z", "'10.0.0.1'", "health = 'http'\nhostnames = ['z.mesh']")]));
    // Whoever is not probed any more is not down, and not remembered.
    assert!(it.follow(&[("z", "'10.0.0.1'", "")]));
    assert!(it.down().is_empty() && it.probed().is_empty());
    it.follow(&[("z", "'10.0.0.1'", "health = 'http'")]);
    assert!(it.down().is_empty());
}

#[test]
fn the_operator_goes_before_probes_and_maintenance_is_not_probed() {
    let mut it = Followed::default();
    let services = [(
        "a",
        "'10.0.0.1', { address = '10.0.0.2', state = 'maintenance' }",
        TCP,
    )];
    it.follow(&services);
    assert_eq!(it.probed(), ["10.0.0.1:80"]);
    it.find("10.0.0.1:80", false);
    let a: Name = "a".parse().unwrap();
    let mut order = |address: &str, state: Option<OperatorState>| {
        let endpoint = Membership {
            address: address.parse().unwrap(),
            ports: Vec::new(),
        };
        let order = Order {
            state,
            ..Order::default()
        };
        it.health.orders.set(a.clone(), endpoint, order);
        it.health.stand(&a, &mut it.standings);
        (it.down(), it.probed())
    };
    let (down, _) = order("10.0.0.1", Some(OperatorState::Drain));
    assert_eq!(down, ["a/10.0.0.1 draining", "a/10.0.0.2 maintenance"]);
    let (down, probed) = order("10.0.0.2", Some(OperatorState::Ready));
    assert_eq!(down, ["a/10.0.0.1 draining"]);
    assert_eq!(probed, ["10.0.0.1:80", "10.0.0.2:80"]);
    let (down, _) = order("10.0.0.1", None);
    assert_eq!(down, ["a/10.0.0.1 unhealthy"]);
}

#[test]
fn an_endpoint_that_comes_back_gets_its_share_step_by_step() {
    let mut it = Followed::default();
    let keys = "health = 'tcp'\nslow_start = '90s'";
    it.follow(&[("a", "'10.0.0.1', '10.0.0.2'", keys)]);
    let share = |it: &Followed| {
        let a = it.standings.get("a");
        a.map_or(100, |a| a.values().next().unwrap().share)
    };
    assert!(it.find("10.0.0.1:80", true).is_some());
    assert_eq!(share(&it), 100, "nothing was known of it, so it was used");
    it.find("10.0.0.1:80", false);
    it.find("10.0.0.1:80", true);
    let begun = it.now;
    let mut shares = vec![share(&it)];
    while let Some(next) = it.health.next_step() {
        it.health.tick(next, &mut it.standings);
        shares.push(share(&it));
    }
    assert_eq!(shares, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    assert!(it.standings.is_empty());
    // Whoever fails meanwhile begins anew.
    it.find("10.0.0.2:80", false);
    it.find("10.0.0.2:80", true);
    it.find("10.0.0.2:80", false);
    assert_eq!(it.health.next_step(), None);
    assert!(begun < it.now);
}

#[test]
fn an_endpoint_that_the_operator_gives_back_begins_with_little() {
    let mut it = Followed::default();
    it.follow(&[(
        "a",
        "{ address = '10.0.0.1', state = 'drain' }",
        "slow_start = '9s'",
    )]);
    let a: Name = "a".parse().unwrap();
    let order = Order {
        state: Some(OperatorState::Ready),
        ..Order::default()
    };
    let endpoint = it.health.services["a"].endpoints[0].clone();
    let own = Addressee::from(Membership::from(&endpoint));
    it.health.order(&a, vec![(own, order)], &[&endpoint], 5);
    it.health.stand(&a, &mut it.standings);
    let standing = it.standings["a"].values().next().unwrap();
    assert_eq!((standing.down, standing.share), (None, 10));
    assert_eq!(it.health.next_step(), Some(1_000_000_005));
}

#[test]
fn connects_that_fail_eject_an_endpoint_and_time_readmits_it() {
    let mut it = Followed::default();
    let keys = "health = { eject_after = 3, eject_for = '4s' }";
    it.follow(&[("a", "'10.0.0.1', '10.0.0.2'", keys)]);
    let a: Name = "a".parse().unwrap();
    let members: Vec<Membership> = it.health.services["a"]
        .endpoints
        .iter()
        .map(Membership::from)
        .collect();
    let mut look = |failed: u64, second: u64| {
        let fates = members.iter().enumerate().map(|(at, member)| {
            let failed = failed * at as u64;
            (
                member.clone(),
                Fates {
                    established: 0,
                    failed,
                },
            )
        });
        let fates: Vec<_> = fates.collect();
        it.health
            .look(&a, &fates, second * 1_000_000_000, &mut it.standings);
        it.down()
    };
    assert!(look(0, 1).is_empty());
    assert_eq!(look(3, 2), ["a/10.0.0.2 ejected"]);
    assert_eq!(look(3, 5), ["a/10.0.0.2 ejected"]);
    assert!(look(3, 6).is_empty());
}
