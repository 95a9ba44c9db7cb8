//! Which clients have connected to which services: what policies could be made of.
//!
//! The kernel adds connections up by service and cgroup and knows no times, so that is looked at again and again: what
//! has grown since the last look was there in between.

mod arrival;
mod client;

pub use arrival::Served;
pub use client::named;

use crate::kernel::{Accounts, Living};
use crate::model::Table;
use crate::tables::Tables;
use kmesh_lite_common::Traffic;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// Pairs of a service and a client that are kept.
const MOST: usize = 16_384;

/// Times are of CLOCK_MONOTONIC, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Since when it is looked. What was before has no times.
    pub since: Option<u64>,
    /// By service, and by client as a policy names it.
    pub clients: BTreeMap<String, BTreeMap<String, Met>>,
    /// By service: connections of programs that no policy can name.
    pub nameless: BTreeMap<String, Met>,
    /// By service: the addresses that connections to its endpoints on this host came from.
    pub sources: BTreeMap<String, BTreeMap<IpAddr, Met>>,
    /// By service: connections from addresses that no endpoint has. Their own are known of those that were open.
    pub strangers: BTreeMap<String, Met>,
    /// Pairs that there was no room for.
    pub left_out: u64,
    /// How many had arrived at the last look.
    pub(super) arrived: BTreeMap<String, u64>,
    /// What the kernel had added up at the last look, by service and cgroup.
    pub(super) counted: BTreeMap<String, BTreeMap<u64, u64>>,
    /// Cgroups of the last look: those that are gone by the next one have connected, too.
    #[serde(skip)]
    pub(super) paths: BTreeMap<u64, PathBuf>,
}

/// Connections of a client to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    pub connections: u64,
    /// When one was seen for the first time and for the last time; none before it was looked.
    pub first: Option<u64>,
    pub last: Option<u64>,
}

impl Met {
    fn meet(&mut self, more: u64, at: Option<u64>) {
        self.connections += more;
        self.first = self.first.or(at);
        self.last = at.or(self.last);
    }
}

impl Met {
    /// Adds what is known of another peer that is the same from now on.
    pub fn join(&mut self, other: Self) {
        self.connections += other.connections;
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
    }
}

impl Seen {
    /// Cgroups whose paths have to be known for the next look, beside those that are.
    pub fn unknown<'a>(
        &'a self,
        accounts: &'a Accounts,
        living: &'a [Living],
    ) -> impl Iterator<Item = u64> + 'a {
        let counted = accounts.sums.keys().map(|key| key.cgroup);
        let open = living.iter().map(|it| it.connection.cgroup);
        let all = counted.chain(open);
        all.filter(|id| *id != 0 && !self.paths.contains_key(id))
    }

    /// Takes in what the kernel has. `paths` are those of cgroups that were [unknown](Self::unknown), as far as they
    /// are there.
    pub fn look(
        &mut self,
        tables: &Tables,
        accounts: &Accounts,
        living: &[Living],
        paths: BTreeMap<u64, PathBuf>,
        now: u64,
    ) {
        let is_first = self.since.is_none();
        self.since.get_or_insert(now);
        self.paths.extend(paths);
        let name = |id: kmesh_lite_common::ServiceId| tables.name(Table::Services, id.index());
        let mut sums: BTreeMap<(String, u64), Traffic> = BTreeMap::new();
        for (key, sum) in accounts.sums.iter().filter(|(key, _)| key.cgroup != 0) {
            if let Some(service) = key.service.and_then(name) {
                let of_client = sums.entry((service, key.cgroup)).or_default();
                of_client.add(sum);
            }
        }
        let mut open: BTreeMap<(String, u64), BTreeMap<u32, u64>> = BTreeMap::new();
        for Living { connection, .. } in living.iter().filter(|it| !it.is_over()) {
            if let Some(service) = connection.service.and_then(name) {
                let users = open.entry((service, connection.cgroup)).or_default();
                *users.entry(connection.user).or_default() += 1;
            }
        }
        // Of programs that were gone before anybody looked.
        for (key, sum) in accounts.sums.iter().filter(|(key, _)| key.cgroup == 0) {
            if let Some(service) = key.service.and_then(name).filter(|_| is_first) {
                let nameless = self.nameless.entry(service).or_default();
                nameless.meet(sum.established + sum.failures(), None);
            }
        }
        let pairs: BTreeSet<_> = sums.keys().chain(open.keys()).cloned().collect();
        let before = std::mem::take(&mut self.counted);
        for pair in pairs {
            let (service, cgroup) = &pair;
            let sum = sums.get(&pair);
            let users = open.get(&pair);
            let total = sum.map_or(0, |sum| sum.established + sum.failures());
            let known = before.get(service).and_then(|it| it.get(cgroup)).copied();
            // Sums begin anew where the programs were loaded anew.
            let more = match known {
                Some(known) if known <= total => total - known,
                _ => total,
            };
            let is_open = users.is_some() || sum.is_some_and(|sum| sum.active() > 0);
            let at = match more > 0 && (!is_first || known.is_some()) {
                true => Some(now),
                false => is_open.then_some(now),
            };
            if sum.is_some() {
                let counted = self.counted.entry(service.clone()).or_default();
                counted.insert(*cgroup, total);
            }
            if more > 0 || at.is_some() {
                self.meet(service, *cgroup, (more, users), at);
            }
        }
        let there = sums.keys().chain(open.keys());
        let there: BTreeSet<_> = there.map(|(_, cgroup)| *cgroup).collect();
        self.paths.retain(|id, _| there.contains(id));
        let services = tables.rows.services.values();
        let services: BTreeSet<_> = services.map(|row| row.name.to_string()).collect();
        self.keep_services(|service| services.contains(service));
    }

    /// `users` are those of the connections that are open, with how many there are.
    fn meet(
        &mut self,
        service: &str,
        cgroup: u64,
        (more, users): (u64, Option<&BTreeMap<u32, u64>>),
        at: Option<u64>,
    ) {
        let path = self.paths.get(&cgroup);
        if let Some(client) = path.and_then(|path| named(path)) {
            // Where nothing is added up, what is open is all that is known.
            let open = users.map_or(0, |users| users.values().sum());
            self.add(service, client, more, open, at);
            return;
        }
        // By their users, as far as these are known.
        let mut rest = more;
        for (user, open) in users.into_iter().flatten() {
            rest = rest.saturating_sub(*open);
            self.add(service, format!("user:{user}"), 0, *open, at);
        }
        if rest > 0 {
            let nameless = self.nameless.entry(service.to_owned()).or_default();
            nameless.meet(rest, at);
        }
    }

    fn add(&mut self, service: &str, client: String, more: u64, open: u64, at: Option<u64>) {
        match place(&mut self.clients, service, client) {
            Some(met) => {
                met.meet(more, at);
                met.connections = met.connections.max(open);
            }
            None => self.left_out += 1,
        }
    }

    /// Forgets services that there are no more.
    fn keep_services(&mut self, is_there: impl Fn(&str) -> bool) {
        self.clients.retain(|service, _| is_there(service));
        self.nameless.retain(|service, _| is_there(service));
        self.sources.retain(|service, _| is_there(service));
        self.strangers.retain(|service, _| is_there(service));
    }
}

/// The place of a peer of a service, if there is one or room for one.
fn place<'a, K: Ord>(
    peers: &'a mut BTreeMap<String, BTreeMap<K, Met>>,
    service: &str,
    peer: K,
) -> Option<&'a mut Met> {
    let count: usize = peers.values().map(BTreeMap::len).sum();
    let of_service = peers.entry(service.to_owned()).or_default();
    if count >= MOST && !of_service.contains_key(&peer) {
        return None;
    }
    Some(of_service.entry(peer).or_default())
}

#[cfg(test)]
mod tests;
