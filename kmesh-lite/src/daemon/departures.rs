//! Endpoints that services have no more, whose connections are shown until they are gone, or ended.
//!
//! They are written down, and kept beyond this process, before the pass that removes them: a daemon that ends
//! right after the commit leaves its successor what there is to end. The number of such an endpoint is not handed
//! out to another one while it is on the list, and an endpoint that comes back gets it again: its connections are
//! counted on.

use super::kept::Kept;
use crate::api::{Departed, KeptDeparture, now};
use crate::kernel::{Descriptors, Ended, Living, NoStore, Store};
use crate::model::{DepartedIds, DepartedKey, OnRemove, Protocol};
use crate::report::count;
use crate::tables::{Departing, Tables, Targets};
use kmesh_lite_common::EndpointId;
use log::{info, warn};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAME: &str = "kmesh-departed-";

/// How long connections are looked for that are to end. A connect that began by the tables before may be
/// late; one that is out of reach stays so.
const LATEST: Duration = Duration::from_secs(5);

/// What is known of endpoints that are gone.
pub struct Departures {
    kept: Kept,
    list: BTreeMap<EndpointId, Departure>,
}

impl Default for Departures {
    /// None, and nothing is kept.
    fn default() -> Self {
        Self::take_over(&mut Vec::new(), Arc::new(NoStore))
    }
}

struct Departure {
    key: DepartedKey,
    departed: Departed,
    peers: BTreeSet<IpAddr>,
    is_to_end: bool,
    /// Until when connections are looked for; none before the pass that removes it is over.
    until: Option<Instant>,
}

impl Departures {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> Self {
        let (kept, file) = Kept::take_over(left, store, NAME);
        let list = match file.map(read).transpose() {
            Ok(list) => list.unwrap_or_default(),
            Err(error) => {
                warn!("cannot read which endpoints were removed before: {error}");
                BTreeMap::new()
            }
        };
        Self { kept, list }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Writes down endpoints that the next pass removes.
    pub fn announce(&mut self, departing: Vec<Departing>) {
        let mut is_new = false;
        for it in departing {
            is_new = true;
            let departed = Departed {
                service: it.key.service.clone(),
                endpoint: it.endpoint,
                on_remove: it.on_remove.to_string(),
                since: now(),
                open_connections: 0,
                killed: 0,
                out_of_reach: 0,
            };
            self.list
                .insert(it.id, Departure::new(it.key, departed, it.peers));
        }
        if is_new {
            self.keep();
        }
    }

    /// Forgets those that are endpoints by these tables: they stayed, or their numbers stand for others.
    pub fn settle(&mut self, tables: &Tables) {
        let there = tables.has_endpoint(|id| self.list.contains_key(&id));
        for id in &there {
            self.list.remove(id);
        }
        if !there.is_empty() {
            self.keep();
        }
        for it in self.list.values_mut() {
            it.until.get_or_insert_with(|| Instant::now() + LATEST);
        }
    }

    /// The ids that are not handed out to others, by whom they stand for.
    pub fn ids(&self) -> DepartedIds {
        let list = self.list.iter();
        list.map(|(id, it)| (it.key.clone(), *id)).collect()
    }

    /// Those whose connections are to end.
    pub fn to_end(&self) -> Targets {
        let list = self.list.iter();
        let to_end = list.filter(|(_, it)| it.is_looked_for());
        to_end.map(|(id, it)| (*id, it.peers.clone())).collect()
    }

    /// Takes note of what was ended. Gives how many connections that were.
    pub fn ended(&mut self, tried: &Targets, ended: &Ended) -> u64 {
        let of = |counts: &BTreeMap<EndpointId, u64>, id| counts.get(id).copied().unwrap_or(0);
        for (id, it) in self
            .list
            .iter_mut()
            .filter(|(id, _)| tried.contains_key(id))
        {
            let (killed, out_of_reach) = (of(&ended.killed, id), of(&ended.out_of_reach, id));
            let Departed {
                service, endpoint, ..
            } = &it.departed;
            if killed > 0 {
                let what = count(killed as usize, "connection");
                info!("service {service}: ended {what} to endpoint {endpoint}, which was removed");
            }
            if out_of_reach > 0 && it.departed.out_of_reach != out_of_reach {
                let what = count(out_of_reach as usize, "connection");
                warn!(
                    "service {service}: cannot end {what} to endpoint {endpoint}, which was removed: not in the \
                     network namespace of the daemon, which has no CAP_SYS_PTRACE, or over and held by a program"
                );
            }
            it.departed.killed += killed;
            it.departed.out_of_reach = out_of_reach;
        }
        ended.killed.values().sum()
    }

    /// Counts connections, and forgets endpoints that have none.
    pub fn count(&mut self, living: &[Living]) {
        let mut open: BTreeMap<EndpointId, u64> = BTreeMap::new();
        for it in living.iter().filter(|it| !it.is_over()) {
            if let Some(id) = it.connection.endpoint {
                *open.entry(id).or_default() += 1;
            }
        }
        let before = self.list.len();
        self.list.retain(|id, it| {
            if !it.is_gone() {
                return true;
            }
            let open = open.get(id).copied().unwrap_or(0);
            let departed = &mut it.departed;
            let (service, endpoint) = (&departed.service, &departed.endpoint);
            if open == 0 && departed.open_connections > 0 {
                info!(
                    "service {service}: endpoint {endpoint}, which was removed, has no connection any more"
                );
            } else if open > 0 && departed.open_connections == 0 && !it.is_to_end {
                let what = count(open as usize, "connection");
                let go = if open == 1 { "goes" } else { "go" };
                info!(
                    "service {service}: endpoint {endpoint} was removed; {what} to it {go} on until closed"
                );
            }
            departed.open_connections = open;
            departed.out_of_reach = departed.out_of_reach.min(open);
            // One may be late.
            open > 0 || it.is_looked_for()
        });
        if self.list.len() != before {
            self.keep();
        }
    }

    /// Those that have connections, by service.
    pub fn status(&self) -> Vec<Departed> {
        let gone = self.list.values().filter(|it| it.is_gone());
        let with = gone.map(|it| &it.departed);
        let with = with.filter(|it| it.open_connections > 0);
        let mut all: Vec<_> = with.cloned().collect();
        all.sort_by(|a, b| (&a.service, &a.endpoint).cmp(&(&b.service, &b.endpoint)));
        all
    }

    /// Keeps the list beyond this process.
    fn keep(&mut self) {
        let list = self.list.iter();
        let list: Vec<_> = list.map(|(id, it)| it.kept(*id)).collect();
        let written = self
            .kept
            .keep(|to| serde_json::to_writer(to, &list).map_err(Into::into));
        if let Err(error) = written {
            warn!("cannot keep beyond this process which endpoints were removed: {error}");
        }
    }
}

impl Departure {
    /// Whether the tables are known to be without it. Before that nothing may end: a pass may have failed.
    fn is_gone(&self) -> bool {
        self.until.is_some()
    }

    /// Whether there may be connections to end.
    fn is_looked_for(&self) -> bool {
        self.is_to_end && self.until.is_some_and(|until| Instant::now() < until)
    }

    fn new(key: DepartedKey, departed: Departed, peers: BTreeSet<IpAddr>) -> Self {
        Self {
            key,
            peers,
            is_to_end: departed.on_remove == OnRemove::Kill.as_str(),
            departed,
            until: None,
        }
    }

    fn kept(&self, id: EndpointId) -> KeptDeparture {
        KeptDeparture {
            id: id.index(),
            address: self.key.address,
            ports: self
                .key
                .ports
                .iter()
                .map(|((port, protocol), own)| (*port, protocol.0, *own))
                .collect(),
            peers: self.peers.clone(),
            departed: self.departed.clone(),
        }
    }
}

fn read(file: File) -> io::Result<BTreeMap<EndpointId, Departure>> {
    let kept: Vec<KeptDeparture> = serde_json::from_reader(BufReader::new(file))?;
    let list = kept.into_iter().filter_map(|it| {
        let ports = it.ports.iter();
        let key = DepartedKey {
            service: it.departed.service.clone(),
            address: it.address,
            ports: ports
                .map(|(port, protocol, own)| ((*port, Protocol(*protocol)), *own))
                .collect(),
        };
        let departure = Departure::new(key, it.departed, it.peers);
        Some((EndpointId::from_index(it.id)?, departure))
    });
    Ok(list.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::kept::tests::InMemory;

    fn departing(id: u32, on_remove: OnRemove) -> Departing {
        Departing {
            id: EndpointId::from_index(id).unwrap(),
            key: DepartedKey {
                service: "web".to_owned(),
                address: [10, 0, 0, id as u8].into(),
                ports: BTreeMap::new(),
            },
            endpoint: format!("10.0.0.{id}"),
            on_remove,
            peers: BTreeSet::from([[10, 0, 0, id as u8].into()]),
        }
    }

    #[test]
    fn what_is_to_end_is_there_for_the_next_process_and_not_before_a_pass_of_its_own() {
        let store = Arc::new(InMemory::default());
        let mut departures = Departures::take_over(&mut Vec::new(), store.clone());
        departures.announce(vec![departing(1, OnRemove::Kill)]);
        departures.announce(vec![departing(2, OnRemove::Drain)]);

        let mut left = std::mem::take(&mut *store.0.lock().unwrap());
        let mut next = Departures::take_over(&mut left, store.clone());
        assert_eq!(next.to_end(), Targets::new());
        next.settle(&Tables::default());
        let ids: Vec<_> = next.to_end().into_keys().map(EndpointId::index).collect();
        assert_eq!(ids, [1]);
        // Neither has a connection; to the one that is to end, one may be late.
        next.count(&[]);
        let mut left = std::mem::take(&mut *store.0.lock().unwrap());
        let last = Departures::take_over(&mut left, store);
        let kept: Vec<_> = last.list.keys().map(|id| id.index()).collect();
        assert_eq!(kept, [1]);
    }
}
