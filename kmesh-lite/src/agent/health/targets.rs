//! What is known of each target, and what of that the daemon has not been told.

use super::verdict::Verdict;
use crate::agent::probe::Outcome;
use crate::api::{Check, Duties, Finding, HealthReport, Target};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

/// Findings of one report.
const FINDINGS: usize = 500;

/// A target as long as it is one. No number is used a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(u64);

/// A target stays the same one in other duties if it is checked in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    address: SocketAddr,
    check: Arc<Check>,
}

impl Key {
    fn of(target: &Target, checks: &[Arc<Check>]) -> Option<Self> {
        let check = checks.get(usize::try_from(target.check).ok()?)?;
        Some(Self {
            address: target.address,
            check: Arc::clone(check),
        })
    }
}

/// What is known of one target.
pub struct Known {
    pub address: SocketAddr,
    pub check: Arc<Check>,
    pub verdict: Verdict,
    /// Of the last probe that agreed with the verdict.
    reason: Cow<'static, str>,
    /// Its place in the duties.
    place: u32,
    /// What the daemon believes, as far as it has said or was told.
    told: Option<bool>,
}

/// A report on its way, and what it tells of whom.
pub struct Told {
    revision: u64,
    verdicts: Vec<(Id, bool)>,
}

/// The targets of the duties.
#[derive(Default)]
pub struct Targets {
    revision: u64,
    next: u64,
    ids: BTreeMap<Key, Id>,
    known: BTreeMap<Id, Known>,
    /// Those whose verdict the daemon does not believe yet: the newest one is all that is kept.
    untold: BTreeSet<Id>,
}

impl Targets {
    /// Takes over what the duties say. Gives the targets that were none before.
    pub fn follow(&mut self, duties: &Duties) -> Vec<Id> {
        // The same again: somebody else may have told the daemon something. What it believed may also be older than what it
        // was told since, and then it is told once more.
        if duties.revision == self.revision {
            for known in self.known.values_mut() {
                let place = usize::try_from(known.place).unwrap_or(usize::MAX);
                if let Some(target) = duties.targets.get(place) {
                    known.told = target.healthy;
                }
            }
            self.find_untold();
            return Vec::new();
        }
        self.revision = duties.revision;
        let checks: Vec<_> = duties.checks.iter().cloned().map(Arc::new).collect();
        let mut before = mem::take(&mut self.ids);
        let mut begun = Vec::new();
        for (place, target) in (0_u32..).zip(&duties.targets) {
            let Some(key) = Key::of(target, &checks) else {
                let address = target.address;
                log::warn!("{address} is not checked: the daemon does not say how");
                continue;
            };
            let (key, id) = before.remove_entry(&key).unwrap_or_else(|| {
                self.next += 1;
                begun.push(Id(self.next));
                (key, Id(self.next))
            });
            let known = self.known.entry(id).or_insert_with(|| Known {
                address: key.address,
                check: Arc::clone(&key.check),
                verdict: Verdict::default(),
                reason: Cow::Borrowed(""),
                place,
                told: None,
            });
            if known.verdict.healthy().is_none() {
                known.verdict = Verdict::believed(target.healthy);
            }
            known.place = place;
            known.told = target.healthy;
            self.ids.insert(key, id);
        }
        for id in before.into_values() {
            self.known.remove(&id);
        }
        self.find_untold();
        begun
    }

    fn find_untold(&mut self) {
        let known = self.known.iter();
        let untold = known.filter(|(_, known)| known.is_untold());
        self.untold = untold.map(|(id, _)| *id).collect();
    }

    pub fn get(&self, id: Id) -> Option<&Known> {
        self.known.get(&id)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes what a probe saw. Nothing comes of it if its target is none any more.
    pub fn take(&mut self, id: Id, outcome: Outcome) {
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        known.verdict.take(outcome.success, &known.check);
        if known.verdict.healthy() == Some(outcome.success) {
            known.reason = outcome.reason;
        }
        self.note(id);
    }

    pub fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Some of what the daemon has not been told.
    pub fn report(&self) -> (HealthReport, Told) {
        let mut findings = Vec::new();
        let mut verdicts = Vec::new();
        for id in self.untold.iter().take(FINDINGS) {
            let known = self.known.get(id);
            if let Some((known, healthy)) = known.and_then(|it| Some((it, it.verdict.healthy()?))) {
                findings.push(Finding {
                    target: known.place,
                    healthy,
                    reason: known.reason.clone().into_owned(),
                });
                verdicts.push((*id, healthy));
            }
        }
        let revision = self.revision;
        let report = HealthReport { revision, findings };
        (report, Told { revision, verdicts })
    }

    /// The daemon has taken a report.
    pub fn taken(&mut self, told: Told) {
        // The duties of another revision say what it believes.
        if told.revision != self.revision {
            return;
        }
        for (id, healthy) in told.verdicts {
            if let Some(known) = self.known.get_mut(&id) {
                known.told = Some(healthy);
                self.note(id);
            }
        }
    }

    fn note(&mut self, id: Id) {
        if self.known.get(&id).is_some_and(Known::is_untold) {
            self.untold.insert(id);
        } else {
            self.untold.remove(&id);
        }
    }
}

impl Known {
    fn is_untold(&self) -> bool {
        let healthy = self.verdict.healthy();
        healthy.is_some() && healthy != self.told
    }
}
