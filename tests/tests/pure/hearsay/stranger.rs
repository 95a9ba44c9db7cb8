//! A stranger in the place of the agent, who sends anything at all. `fuzz/fuzz_targets/findings.rs` is one as well.

use kmesh_lite::config::{Fragments, Host, Loader, Origin};
use kmesh_lite::daemon::hearsay::{Asked, Heard, hear};
use kmesh_lite::health::{Condition, Health, Target};
use kmesh_lite::model::{Facts, Membership, Mesh, Name};
use std::collections::{BTreeMap, BTreeSet};

/// Of the duties.
pub const REVISION: u64 = 7;

/// Services that have targets in common, and endpoints that nobody probes.
const MESH: &str = "
    [services.a]
    vips = ['10.96.0.1']
    ports = [80]
    health = 'tcp'
    endpoints = ['10.0.0.1', '10.0.0.2', { address = '10.0.0.9', health = 'none' }]
    [services.b]
    vips = ['10.96.0.2']
    ports = [80]
    health = 'tcp'
    slow_start = '10s'
    endpoints = ['10.0.0.1', { address = '10.0.0.3', state = 'drain' }]
    [services.c]
    vips = ['10.96.0.3']
    ports = [80]
    health = { check = 'http', initial = 'unhealthy', eject_after = 3 }
    endpoints = ['10.0.0.1']
    [services.d]
    vips = ['10.96.0.4']
    ports = [80]
    endpoints = ['10.0.0.1', '10.0.0.2']
";

/// What there is to be found out, before anything was said of it.
pub struct Site {
    mesh: Mesh,
    health: Health,
    facts: Facts,
    targets: Vec<Target>,
}

impl Site {
    pub fn new() -> Self {
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), MESH)]);
        let mesh = Loader::default().load(&fragments, &Host::default()).mesh;
        let (mesh, mut health, mut facts) = (mesh.unwrap(), Health::default(), Facts::default());
        health.follow(&mesh, &mut facts.standings);
        let targets = health.probed().cloned().collect();
        Self {
            mesh,
            health,
            facts,
            targets,
        }
    }

    /// Some bodies, one after the other. Whatever they are, targets turn, and nothing else does.
    pub fn hear(&self, bodies: &[&[u8]]) {
        let mut health = self.health.clone();
        let mut facts = self.facts.clone();
        let probed: BTreeSet<_> = self.probed().collect();
        for (now, body) in (1..).zip(bodies) {
            let mut heard = Heard::default();
            let before = conditions(&health);
            let asked = Asked {
                revision: REVISION,
                targets: &self.targets,
            };
            let is_taken = hear(body, asked, now, &mut health, &mut heard).is_ok();
            let after = conditions(&health);
            if !is_taken {
                assert_eq!(before, after);
                assert!(heard.facts.is_empty() && heard.turns.is_empty());
            }

            // No more than was asked for, however often it is said.
            assert!(heard.turns.len() <= self.targets.len());
            assert!(heard.facts.len() <= probed.len());
            assert!(after.keys().all(|it| self.targets.contains(it)));
            for (target, condition) in &after {
                let reason = &condition.reason;
                assert!(reason.len() <= 200 && !reason.contains(char::is_control));
                let was = before.get(target);
                let turned = was.is_none_or(|was| was.healthy != condition.healthy);
                assert!(turned || was == Some(condition));
            }

            // What is not probed stands as it did, and nobody is ejected or told to drain.
            for fact in heard.facts {
                assert!(probed.contains(&(fact.service.clone(), fact.endpoint.clone())));
                facts.learn(fact);
            }
            assert!(health.orders.is_empty());
            assert!(health.probed().eq(&self.targets));
            let is_as_before = |(name, it): &(Name, Membership)| {
                let standing = |facts: &Facts| facts.standings.get(name)?.get(it).copied();
                standing(&facts) == standing(&self.facts)
            };
            assert!(
                self.members()
                    .filter(|it| !probed.contains(it))
                    .all(|it| is_as_before(&it))
            );
            // What follows for endpoints is what is known of them.
            let mut standings = facts.standings.clone();
            for name in self.mesh.services.keys() {
                health.stand(name, &mut standings);
            }
            assert!(standings == facts.standings);
        }
    }

    fn members(&self) -> impl Iterator<Item = (Name, Membership)> {
        self.mesh.services.iter().flat_map(|(name, service)| {
            let endpoints = service.endpoints.iter();
            endpoints.map(|it| (name.clone(), it.into()))
        })
    }

    fn probed(&self) -> impl Iterator<Item = (Name, Membership)> {
        self.mesh.services.iter().flat_map(|(name, service)| {
            let probed = service.endpoints.iter().filter(|it| it.check.is_some());
            probed.map(|it| (name.clone(), it.into()))
        })
    }
}

fn conditions(health: &Health) -> BTreeMap<Target, Condition> {
    let conditions = health.conditions();
    conditions
        .map(|(target, condition)| (target.clone(), condition.clone()))
        .collect()
}
