//! What was found of endpoints, kept beyond this process.
//!
//! Nothing that is known to be dead is chosen by the tables of the next process, which may read its file anew.

use super::kept::Kept;
use crate::api::{KnownTarget, KnownTargets, TimeBase};
use crate::health::{Condition, Health, Target};
use crate::kernel::{Descriptors, Store};
use log::warn;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::SocketAddr;
use std::sync::Arc;

const NAME: &str = "kmesh-health-";

/// Where it is kept.
pub struct LastFindings {
    kept: Kept,
    said: bool,
}

impl LastFindings {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> (Self, Recalled) {
        let (kept, file) = Kept::take_over(left, store, NAME);
        let known = file.map(|file| serde_json::from_reader(BufReader::new(file)));
        let known: Option<KnownTargets> = match known.transpose() {
            Ok(known) => known,
            Err(error) => {
                warn!("cannot read what the process before knew of endpoints: {error}");
                None
            }
        };
        (Self { kept, said: false }, Recalled::new(known))
    }

    /// Keeps what is known now in place of what was known before.
    pub fn keep(&mut self, health: &Health, base: TimeBase) {
        let known = KnownTargets {
            base,
            targets: health.conditions().map(known).collect(),
        };
        let written = self
            .kept
            .keep(|to| serde_json::to_writer(to, &known).map_err(Into::into));
        match written {
            Ok(()) => self.said = false,
            Err(_) if self.said => {}
            Err(error) => {
                warn!("cannot keep what is known of endpoints beyond this process: {error}");
                self.said = true;
            }
        }
    }
}

#[cfg(test)]
impl Default for LastFindings {
    /// Nothing is kept.
    fn default() -> Self {
        Self::take_over(&mut Vec::new(), Arc::new(crate::kernel::NoStore)).0
    }
}

fn known((target, condition): (&Target, &Condition)) -> KnownTarget {
    KnownTarget {
        address: target.address,
        check: target.check.as_ref().into(),
        healthy: condition.healthy,
        since_ns: condition.since,
        reason: condition.reason.clone(),
    }
}

/// What an earlier process knew.
#[derive(Debug, Default)]
pub struct Recalled {
    of_address: BTreeMap<SocketAddr, Vec<KnownTarget>>,
    /// By which it told times.
    pub base: Option<TimeBase>,
}

impl Recalled {
    fn new(known: Option<KnownTargets>) -> Self {
        let base = known.as_ref().map(|known| known.base);
        let mut of_address: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for target in known.into_iter().flat_map(|known| known.targets) {
            of_address.entry(target.address).or_default().push(target);
        }
        Self { of_address, base }
    }

    pub fn is_empty(&self) -> bool {
        self.of_address.is_empty()
    }

    /// What was known of a target. Where it was probed in another way, what that said.
    pub fn of(&self, target: &Target) -> Option<Condition> {
        let known = self.of_address.get(&target.address)?;
        let check = target.check.as_ref().into();
        let same = known.iter().find(|it| it.check == check);
        let found = same.or(known.first())?;
        Some(Condition {
            healthy: found.healthy,
            since: found.since_ns,
            reason: found.reason.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};
    use crate::daemon::kept::tests::InMemory;
    use crate::model::Mesh;

    fn mesh(health: &str) -> Mesh {
        let text = format!(
            "[services.web]
             vips = ['10.96.0.1']
             ports = [80]
             endpoints = ['10.0.0.1', '10.0.0.2']
             health = {health}"
        );
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), text)]);
        let loaded = Loader::default().load(&fragments, &Host::default());
        loaded.mesh.unwrap()
    }

    fn following(mesh: &Mesh) -> Health {
        let mut health = Health::default();
        health.follow(mesh, &mut Default::default());
        health
    }

    #[test]
    fn what_is_known_outlives_the_process_and_another_way_to_find_out() {
        let store = Arc::new(InMemory::default());
        let (mut kept, none) = LastFindings::take_over(&mut Vec::new(), store.clone());
        assert!(none.is_empty());
        let mut health = following(&mesh("'tcp'"));
        let targets: Vec<_> = health.probed().cloned().collect();
        let condition = Condition {
            healthy: false,
            since: 7,
            reason: "connection refused".to_owned(),
        };
        health.find(&targets[1], condition.clone(), &mut Vec::new());
        let base = TimeBase::new(3);
        kept.keep(&health, base);

        let mut left = std::mem::take(&mut *store.0.lock().unwrap());
        let (_, recalled) = LastFindings::take_over(&mut left, store);
        assert_eq!(recalled.base, Some(base));
        for way in ["'tcp'", "{ check = 'http', path = '/live' }"] {
            let health = following(&mesh(way));
            let conditions: Vec<_> = health.probed().map(|it| recalled.of(it)).collect();
            assert_eq!(conditions, [None, Some(condition.clone())], "{way}");
        }
    }
}
