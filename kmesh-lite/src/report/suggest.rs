//! The policies that would allow what was seen.

mod sources;

use super::seen::{Met, Seen};
use crate::api::{SeenPeer, SuggestedPolicy, Suggestion, TimeBase, Uncovered};
use crate::config::is_principal;
use crate::model::{Facts, Mesh};
use std::collections::{BTreeMap, BTreeSet};

/// What begins the name of a suggested policy.
const PREFIX: &str = "seen-";

/// What there is to make policies of.
pub struct Sight<'a> {
    pub seen: &'a Seen,
    pub mesh: &'a Mesh,
    pub facts: &'a Facts,
    /// Only what was seen within so many seconds.
    pub within: Option<u64>,
    pub accounting: bool,
    /// By CLOCK_MONOTONIC, in nanoseconds.
    pub now: u64,
    pub base: TimeBase,
}

pub fn suggest(sight: &Sight<'_>) -> Suggestion {
    let mut suggestion = Suggestion {
        at: sight.base.tell(sight.now),
        since: sight.base.tell(sight.seen.since.unwrap_or(sight.now)),
        within_seconds: sight.within,
        accounting: sight.accounting,
        left_out: sight.seen.left_out,
        ..Suggestion::default()
    };
    let mut taken: BTreeSet<String> = sight
        .mesh
        .policies
        .keys()
        .map(ToString::to_string)
        .collect();
    for name in sight.mesh.services.keys() {
        let service = name.as_str();
        let (clients, uncovered) = sight.clients(service);
        let from = sight.sources(service);
        let nameless = sight.seen.nameless.get(service);
        let nameless = nameless.filter(|met| sight.counts(met));
        let nameless = nameless.map(|met| Uncovered {
            service: service.to_owned(),
            connections: met.connections,
            why: "of programs in the root cgroup, or in one that was gone before it was looked"
                .to_owned(),
        });
        let strangers = sight.seen.strangers.get(service);
        let strangers = strangers.filter(|met| sight.counts(met));
        let strangers = strangers.map(|met| Uncovered {
            service: service.to_owned(),
            connections: met.connections,
            why: "which arrived from addresses that no endpoint has: those that were open at a look are named, \
                  others are not"
                .to_owned(),
        });
        let uncovered = uncovered.into_iter().chain(nameless).chain(strangers);
        let uncovered: Vec<_> = uncovered.collect();
        if clients.is_some() || from.is_some() {
            suggestion.policies.push(SuggestedPolicy {
                name: free(service, &mut taken),
                services: vec![service.to_owned()],
                ports: Vec::new(),
                clients,
                from,
            });
        } else if uncovered.is_empty() {
            suggestion.unused.push(service.to_owned());
        }
        suggestion.uncovered.extend(uncovered);
    }
    suggestion
}

impl Sight<'_> {
    /// Whether it was seen within the time that is asked for.
    fn counts(&self, met: &Met) -> bool {
        let Some(within) = self.within else {
            return true;
        };
        let since = self
            .now
            .saturating_sub(within.saturating_mul(1_000_000_000));
        met.last.is_some_and(|last| last >= since)
    }

    /// The sources of what arrived at a service, if anything did.
    fn sources(&self, service: &str) -> Option<Vec<SeenPeer>> {
        let sources = self.seen.sources.get(service)?.iter();
        let counted = sources.filter(|(_, met)| self.counts(met));
        let counted: BTreeMap<_, _> = counted.map(|(from, met)| (*from, *met)).collect();
        let named = sources::sources(&counted, self.mesh).into_iter();
        let peers: Vec<_> = named.map(|(name, met)| self.peer(name, &met)).collect();
        (!peers.is_empty()).then_some(peers)
    }

    /// The clients of a service, if any were seen, and those that have no name in a file.
    fn clients(&self, service: &str) -> (Option<Vec<SeenPeer>>, Vec<Uncovered>) {
        let clients = self.seen.clients.get(service).into_iter().flatten();
        let (mut peers, mut uncovered) = (BTreeMap::new(), Vec::new());
        for (client, met) in clients.filter(|(_, met)| self.counts(met)) {
            let name = self.by_name(client);
            if is_principal(&name) {
                peers.insert(name.clone(), self.peer(name, met));
            } else {
                uncovered.push(Uncovered {
                    service: service.to_owned(),
                    connections: met.connections,
                    why: format!("of {}, which no file can name", client.escape_debug()),
                });
            }
        }
        let peers: Vec<_> = peers.into_values().collect();
        ((!peers.is_empty()).then_some(peers), uncovered)
    }

    /// A user by name, where the host has one.
    fn by_name(&self, client: &str) -> String {
        let number = client.strip_prefix("user:").and_then(|it| it.parse().ok());
        let name = number.and_then(|number: u32| {
            let mut users = self.facts.users.iter();
            users.find(|(_, it)| **it == number)
        });
        match name {
            Some((name, _)) => format!("user:{name}"),
            None => client.to_owned(),
        }
    }

    fn peer(&self, name: String, met: &Met) -> SeenPeer {
        SeenPeer {
            name,
            connections: met.connections,
            first: met.first.map(|at| self.base.tell(at)),
            last: met.last.map(|at| self.base.tell(at)),
        }
    }
}

/// A name for the policy of a target that no other one has.
fn free(target: &str, taken: &mut BTreeSet<String>) -> String {
    // Names are ASCII, and have room for so many characters.
    let room = kmesh_lite_common::Name::CAPACITY - PREFIX.len() - "-65536".len();
    let first = format!("{PREFIX}{}", &target[..target.len().min(room)]);
    let mut name = first.clone();
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{first}-{number}");
    }
    name
}

#[cfg(test)]
mod tests;
