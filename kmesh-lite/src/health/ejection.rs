//! Endpoints that connections find to be down: those that fail in a row take no new ones for a while.
//!
//! In the spirit of Envoy's outlier detection. What connections of this host meet is a signal of its own: probes may
//! succeed where connects fail, and a service may have no probes at all.

use crate::model::{Eject, Membership, Name};
use std::collections::BTreeMap;

/// What became of connects to an endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub established: u64,
    pub failed: u64,
}

/// An endpoint of a service that ejects.
#[derive(Clone, Debug, Default)]
struct Watched {
    /// At the last look.
    seen: Option<Fates>,
    /// How many have failed since one was established.
    run: u64,
    ejected: Option<Ejected>,
    /// How often it was ejected lately.
    times: u32,
    /// When it came back from that.
    back: u64,
}

/// That an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    pub since: u64,
    pub until: u64,
    /// How many connects failed in a row.
    pub run: u64,
}

/// An endpoint was ejected, or is readmitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectionChange {
    pub service: Name,
    pub endpoint: Membership,
    /// None if it is readmitted.
    pub ejected: Option<Ejected>,
}

/// The longest time is so many times the first.
const LONGEST: u32 = 10;

/// All endpoints of services that eject.
#[derive(Clone, Debug, Default)]
pub struct Ejections {
    all: BTreeMap<(Name, Membership), Watched>,
}

impl Ejections {
    pub fn get(&self, service: &Name, endpoint: &Membership) -> Option<&Ejected> {
        // So it is for nearly all hosts.
        if self.all.is_empty() {
            return None;
        }
        let watched = self.all.get(&(service.clone(), endpoint.clone()))?;
        watched.ejected.as_ref()
    }

    /// Looks at what became of connects to all endpoints of a service.
    pub fn look(
        &mut self,
        service: &Name,
        eject: &Eject,
        fates: &[(Membership, Fates)],
        now: u64,
    ) -> Vec<EjectionChange> {
        let mut changes = Vec::new();
        let change = |endpoint: &Membership, ejected| EjectionChange {
            service: service.clone(),
            endpoint: endpoint.clone(),
            ejected,
        };
        let base = u64::try_from(eject.base.as_nanos()).unwrap_or(u64::MAX);
        let longest = base.saturating_mul(u64::from(LONGEST));
        let mut out = 0;
        for (endpoint, fates) in fates {
            let key = (service.clone(), endpoint.clone());
            let watched = self.all.entry(key).or_default();
            // A sum that shrinks is that of another endpoint.
            let seen = watched.seen.replace(*fates).unwrap_or(*fates);
            let established = fates.established.saturating_sub(seen.established);
            let failed = fates.failed.saturating_sub(seen.failed);
            watched.run = match established {
                0 => watched.run + failed,
                _ => 0,
            };
            if watched.ejected.is_some_and(|it| it.until <= now) {
                watched.ejected = None;
                watched.run = 0;
                watched.back = now;
                changes.push(change(endpoint, None));
            }
            if watched.ejected.is_none() && now.saturating_sub(watched.back) > longest {
                watched.times = 0;
            }
            out += usize::from(watched.ejected.is_some());
        }
        let most = fates.len() * usize::from(eject.at_most) / 100;
        for (endpoint, _) in fates {
            let key = (service.clone(), endpoint.clone());
            let Some(watched) = self.all.get_mut(&key) else {
                continue;
            };
            if out >= most || watched.ejected.is_some() || watched.run < u64::from(eject.after) {
                continue;
            }
            out += 1;
            watched.times = (watched.times + 1).min(LONGEST);
            let ejected = Ejected {
                since: now,
                until: now.saturating_add(base.saturating_mul(u64::from(watched.times))),
                run: watched.run,
            };
            watched.ejected = Some(ejected);
            changes.push(change(endpoint, Some(ejected)));
        }
        changes
    }

    /// A probe found an endpoint to be healthy again.
    pub fn readmit(&mut self, service: &Name, endpoint: &Membership, now: u64) {
        let key = (service.clone(), endpoint.clone());
        if let Some(watched) = self.all.get_mut(&key)
            && watched.ejected.take().is_some()
        {
            watched.run = 0;
            watched.back = now;
        }
    }

    /// Forgets endpoints that are not there any more.
    pub fn retain(&mut self, mut stays: impl FnMut(&Name, &Membership) -> bool) {
        self.all.retain(|(name, member), _| stays(name, member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn member(number: u8) -> Membership {
        Membership {
            address: [10, 0, 0, number].into(),
            ports: Vec::new(),
        }
    }

    /// A service of two endpoints, at the second of which so many connects stood and failed.
    struct Service {
        ejections: Ejections,
        fates: Fates,
        now: u64,
    }

    impl Service {
        fn new() -> Self {
            let mut service = Self {
                ejections: Ejections::default(),
                fates: Fates::default(),
                now: SECOND,
            };
            service.look(0, 0);
            service
        }

        /// After a second in which that happened: whether something was decided.
        fn look(&mut self, established: u64, failed: u64) -> Option<Option<Ejected>> {
            self.now += SECOND;
            self.fates.established += established;
            self.fates.failed += failed;
            let eject = Eject {
                after: 5,
                base: Duration::from_secs(10),
                at_most: 50,
            };
            let fates = [(member(1), Fates::default()), (member(2), self.fates)];
            let name = "web".parse().unwrap();
            let changes = self.ejections.look(&name, &eject, &fates, self.now);
            assert!(changes.len() < 2);
            changes.into_iter().next().map(|it| {
                assert_eq!(it.endpoint, member(2));
                it.ejected
            })
        }
    }

    #[test]
    fn connects_that_fail_in_a_row_eject_for_a_growing_time() {
        let mut web = Service::new();
        assert_eq!(web.look(0, 4), None);
        assert_eq!(web.look(1, 4), None, "one stood");
        assert_eq!(web.look(0, 4), None);
        let first = web.look(0, 1).unwrap().unwrap();
        assert_eq!((first.run, first.until - first.since), (5, 10 * SECOND));
        while web.now < first.until - SECOND {
            assert_eq!(web.look(0, 0), None);
        }
        assert_eq!(web.look(0, 0), Some(None), "it is readmitted");
        let second = web.look(0, 5).unwrap().unwrap();
        assert_eq!(second.until - second.since, 20 * SECOND);
        // Whoever was well for long begins anew.
        web.now = second.until;
        assert_eq!(web.look(0, 0), Some(None));
        web.now += 200 * SECOND;
        web.look(1, 0);
        let third = web.look(0, 5).unwrap().unwrap();
        assert_eq!(third.until - third.since, 10 * SECOND);
    }

    #[test]
    fn no_more_than_a_share_is_ejected() {
        let eject = Eject {
            after: 1,
            base: Duration::from_secs(1),
            at_most: 50,
        };
        let name = "web".parse().unwrap();
        for (count, most) in [(1, 0), (2, 1), (5, 2)] {
            let mut ejections = Ejections::default();
            let fates = |failed| {
                let fates = Fates {
                    failed,
                    ..Fates::default()
                };
                (0..count)
                    .map(move |it| (member(it), fates))
                    .collect::<Vec<_>>()
            };
            ejections.look(&name, &eject, &fates(0), 1);
            let changes = ejections.look(&name, &eject, &fates(9), 2);
            assert_eq!(changes.len(), most, "of {count}");
        }
    }

    #[test]
    fn a_probe_that_succeeds_again_readmits() {
        let mut web = Service::new();
        assert!(web.look(0, 9).unwrap().is_some());
        let name = "web".parse().unwrap();
        assert!(web.ejections.get(&name, &member(2)).is_some());
        web.ejections.readmit(&name, &member(2), web.now);
        assert_eq!(web.ejections.get(&name, &member(2)), None);
        assert_eq!(web.look(0, 4), None, "what was before does not count");
    }
}
