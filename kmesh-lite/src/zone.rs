//! The names of the mesh: what DNS says of them.
//!
//! In: the mesh, how endpoints stand, and the addresses of services, as a pass left them. Out: the names with their records,
//! and what differs from an earlier revision. No I/O here, and nothing of the wire: which answer follows for a question is
//! the agent's business.
//!
//! What a service is called, and what its names lead to, depends on that service alone, so that a change of one endpoint
//! makes the names of one service anew. Where two services claim one name, the claim of the lower rank counts, and of
//! equal ones that of the service whose name comes first.

mod claims;
mod log;
mod name;
mod owners;
mod records;

pub use name::{NoName, reverse, service_name};
pub use owners::Owners;
pub use records::{NameRecords, ServiceRecord};

use crate::model::{Mesh, Name, Place, Standings};
use crate::tables::Vips;
use claims::{Claim, Claims, Titles, claims_of};
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use log::Log;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a pass left, as far as names depend on it.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    pub mesh: &'a Mesh,
    pub standings: &'a OrdMap<Name, Arc<Standings>>,
    pub vips: &'a Vips,
}

/// Every name of the mesh.
#[derive(Clone, Debug)]
pub struct Zone {
    revision: u64,
    /// Whether there has been anything to follow.
    is_known: bool,
    names: OrdMap<Arc<str>, Claims>,
    log: Log,
    /// What it was made of; none while no names are served.
    made_of: Option<MadeOf>,
}

#[derive(Clone, Debug)]
struct MadeOf {
    domain: String,
    node: Place,
    titles: Titles,
    services: OrdMap<Name, Arc<crate::model::Service>>,
    standings: OrdMap<Name, Arc<Standings>>,
    vips: Vips,
    /// The names that each service claims.
    claimed: OrdMap<Name, OrdSet<Arc<str>>>,
}

/// Names with their records, or the difference to an earlier revision. A copy that is to be told elsewhere.
#[derive(Clone, Debug)]
pub struct Extract {
    pub revision: u64,
    /// None: the names are all that there are.
    pub since: Option<u64>,
    names: ExtractedNames,
}

#[derive(Clone, Debug)]
enum ExtractedNames {
    All(OrdMap<Arc<str>, Claims>),
    Some(Vec<(Arc<str>, Option<Arc<NameRecords>>)>),
}

impl Extract {
    /// Each name; without records, it is gone.
    pub fn names(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<NameRecords>>)> {
        let (all, some) = match &self.names {
            ExtractedNames::All(names) => (Some(names), None),
            ExtractedNames::Some(names) => (None, Some(names)),
        };
        let all = all.into_iter().flat_map(|names| names.iter());
        let all = all.map(|(name, claims)| (name, Some(claims.winner())));
        let some = some.into_iter().flatten();
        all.chain(some.map(|(name, records)| (name, records.as_ref())))
    }
}

impl Zone {
    /// Without a name. No revision of it is that of an earlier zone if none has a higher number than `revision`.
    pub fn new(revision: u64) -> Self {
        Self {
            revision,
            is_known: false,
            names: OrdMap::new(),
            log: Log::from(revision),
            made_of: None,
        }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it says what there is: it has followed something.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whose each name is.
    pub fn owners(&self) -> Owners {
        Owners(self.names.clone())
    }

    /// The name that a question for `name` matches, which may be a wildcard (RFC 4592), the service that it leads to, and what
    /// it has.
    pub fn lookup(&self, name: &str) -> Option<(&str, (&Name, &NameRecords))> {
        let found = |name: &str| {
            let (name, claims) = self.names.get_key_value(name)?;
            let claim = claims.first();
            Some((&**name, (&claim.service, &*claim.records)))
        };
        if let Some(found) = found(name) {
            return Some(found);
        }
        if self.is_above_another(name) {
            return None;
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            let wildcard = found(&format!("*.{parent}"));
            // What is nearer hides wildcards that are further away.
            if wildcard.is_some() || self.is_above_another(parent) {
                return wildcard;
            }
            rest = parent;
        }
        None
    }

    /// Whether there is such a name, or one below it.
    fn is_above_another(&self, name: &str) -> bool {
        let is_below = |it: &str| {
            it.strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.names.keys().any(|it| is_below(it))
    }

    /// Takes over what a pass left. Tells whether any name is other than before.
    pub fn follow(&mut self, basis: Basis<'_>) -> bool {
        let is_first = !std::mem::replace(&mut self.is_known, true);
        let changed = match &basis.mesh.dns.serving {
            Some(serving) => self.update(&serving.domain, basis),
            None => self.clear(),
        };
        if changed.is_empty() && !is_first {
            return false;
        }
        self.revision += 1;
        self.log.push(self.revision, changed);
        true
    }

    /// What there is, or what differs from a revision, if that is known.
    pub fn since(&self, revision: Option<u64>) -> Extract {
        let changed = revision.and_then(|revision| self.log.since(revision));
        match changed {
            Some(changed) => Extract {
                revision: self.revision,
                since: revision,
                names: ExtractedNames::Some(
                    changed
                        .into_iter()
                        .map(|name| {
                            let claims = self.names.get(&name);
                            let records = claims.map(|claims| Arc::clone(claims.winner()));
                            (name, records)
                        })
                        .collect(),
                ),
            },
            None => Extract {
                revision: self.revision,
                since: None,
                names: ExtractedNames::All(self.names.clone()),
            },
        }
    }

    fn clear(&mut self) -> BTreeSet<Arc<str>> {
        self.made_of = None;
        std::mem::take(&mut self.names)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    fn update(&mut self, domain: &str, basis: Basis<'_>) -> BTreeSet<Arc<str>> {
        let Basis {
            mesh,
            standings,
            vips,
        } = basis;
        let before = self.made_of.take();
        let titles = match &before {
            Some(before) if before.titles.are_of(mesh) => before.titles.clone(),
            _ => Titles::of(mesh),
        };
        let mut now = MadeOf {
            domain: domain.to_owned(),
            node: mesh.node.clone(),
            titles,
            services: mesh.services.clone(),
            standings: standings.clone(),
            vips: vips.clone(),
            claimed: OrdMap::new(),
        };
        let mut touched = BTreeSet::new();
        match before {
            Some(before) if before.is_about_the_same(&now) => {
                touched.extend(differing(&before.services, &now.services));
                touched.extend(differing(&before.standings, &now.standings));
                touched.extend(before.vips.differing(&now.vips));
                now.claimed = before.claimed;
            }
            Some(before) => {
                touched.extend(before.claimed.keys().cloned());
                touched.extend(now.services.keys().cloned());
                now.claimed = before.claimed;
            }
            None => touched.extend(now.services.keys().cloned()),
        }
        let mut changed = BTreeSet::new();
        for service in touched {
            self.claim(&service, &mut now, &mut changed);
        }
        self.made_of = Some(now);
        changed
    }

    /// Lets a service claim its names, and no others.
    fn claim(&mut self, service: &Name, now: &mut MadeOf, changed: &mut BTreeSet<Arc<str>>) {
        let mut claims = claims_of(service, now);
        let mut had = now.claimed.remove(service).unwrap_or_default();
        let mut claimed = OrdSet::new();
        for (name, (rank, records)) in std::mem::take(&mut claims) {
            // One text for each name.
            let name = match had.remove(&name) {
                Some(known) => known,
                None => self
                    .names
                    .get_key_value(&name)
                    .map_or(name, |(known, _)| Arc::clone(known)),
            };
            let claim = Claim {
                rank,
                service: service.clone(),
                records: Arc::new(records),
            };
            claimed.insert(Arc::clone(&name));
            if self.put(&name, claim) {
                changed.insert(name);
            }
        }
        for name in had {
            if self.take_away(&name, service) {
                changed.insert(name);
            }
        }
        if !claimed.is_empty() {
            now.claimed.insert(service.clone(), claimed);
        }
    }

    /// Tells whether the name has something else than before.
    fn put(&mut self, name: &Arc<str>, claim: Claim) -> bool {
        match self.names.get(name) {
            Some(claims) if claims.has(&claim) => false,
            Some(claims) => {
                let mut claims = claims.clone();
                let changes = claims.put(claim);
                self.names.insert(Arc::clone(name), claims);
                changes
            }
            None => {
                self.names.insert(Arc::clone(name), Claims::new(claim));
                true
            }
        }
    }

    fn take_away(&mut self, name: &Arc<str>, service: &Name) -> bool {
        let Some(claims) = self.names.get(name) else {
            return false;
        };
        let before = Arc::clone(claims.winner());
        match claims.without(service) {
            Some(claims) => {
                let changes = *claims.winner() != before;
                self.names.insert(Arc::clone(name), claims);
                changes
            }
            None => {
                self.names.remove(name);
                true
            }
        }
    }
}

impl MadeOf {
    /// Whether what all services depend on is the same.
    fn is_about_the_same(&self, other: &Self) -> bool {
        self.domain == other.domain && self.node == other.node && self.titles == other.titles
    }
}

/// Keys whose values differ, or that only one side has.
fn differing<V: Clone + PartialEq>(a: &OrdMap<Name, V>, b: &OrdMap<Name, V>) -> Vec<Name> {
    let keys = a.diff(b).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key.clone(),
        DiffItem::Update { new: (key, _), .. } => key.clone(),
    });
    keys.collect()
}

#[cfg(test)]
mod tests;
