//! Endpoints that services have no more, whose connections are shown until they are gone, or ended.
//!
//! They are written down, and kept beyond this process, before the pass that removes them: a daemon that ends
//! right after the commit leaves its successor what there is to end. The number of such an endpoint is not handed
//! out again while the list is right; what a pass has given it to is taken off the list.

use crate::api::{Departed, KeptDeparture, now};
use crate::kernel::{Descriptors, Ended, Living, Store};
use crate::model::OnRemove;
use crate::report::count;
use crate::tables::{Departing, Tables, Targets};
use kmesh_lite_common::EndpointId;
use log::{info, warn};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
impl Default for Departures {
    /// Nothing is kept.
    fn default() -> Self {
        Self::take_over(&mut Vec::new(), Arc::new(crate::kernel::NoStore))
    }
}

/// Descriptors of ours have this and a number for a name; the highest number is the latest.
const NAME: &str = "kmesh-departed-";

/// How long connections are looked for that are to end. A connect that began by the tables before may be
/// late; one that is out of reach stays so.
const LATEST: Duration = Duration::from_secs(5);

/// What is known of endpoints that are gone.
pub struct Departures {
    store: Arc<dyn Store>,
    number: u64,
    list: BTreeMap<EndpointId, Departure>,
}

struct Departure {
    departed: Departed,
    peers: BTreeSet<IpAddr>,
    is_to_end: bool,
    /// Until when connections are looked for; none before the pass that removes it is over.
    until: Option<Instant>,
}

impl Departures {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> Self {
        let number = |name: &str| name.strip_prefix(NAME)?.parse::<u64>().ok();
        let mut kept: Vec<_> = left
            .extract_if(.., |(name, _)| number(name).is_some())
            .filter_map(|(name, fd)| Some((number(&name)?, File::from(fd))))
            .collect();
        kept.sort_by_key(|(number, _)| *number);
        let last = kept.pop();
        let mut this = Self {
            store,
            number: last.as_ref().map_or(0, |(number, _)| *number),
            list: BTreeMap::new(),
        };
        for (number, _) in kept {
            this.release(number);
        }
        match last.map(|(_, file)| read(file)) {
            Some(Ok(list)) => this.list = list,
            Some(Err(error)) => {
                warn!("cannot read which endpoints were removed before: {error}");
            }
            None => {}
        }
        this
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
                service: it.service,
                endpoint: it.endpoint,
                on_remove: it.on_remove.to_string(),
                since: now(),
                open_connections: 0,
                killed: 0,
                out_of_reach: 0,
            };
            self.list.insert(it.id, Departure::new(departed, it.peers));
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
        let before = self.number;
        if !self.list.is_empty() {
            let next = self.number + 1;
            let kept = write(&self.list)
                .and_then(|file| self.store.keep(&format!("{NAME}{next}"), file.as_fd()));
            if let Err(error) = kept {
                warn!("cannot keep beyond this process which endpoints were removed: {error}");
                return;
            }
            self.number = next;
        } else {
            self.number = 0;
        }
        if before != 0 {
            self.release(before);
        }
    }

    fn release(&self, number: u64) {
        if let Err(error) = self.store.release(&format!("{NAME}{number}")) {
            warn!("cannot let go of an earlier list of removed endpoints: {error}");
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

    fn new(departed: Departed, peers: BTreeSet<IpAddr>) -> Self {
        Self {
            peers,
            is_to_end: departed.on_remove == OnRemove::Kill.as_str(),
            departed,
            until: None,
        }
    }
}

/// A file without a name, so that nothing is left of it when nobody holds it.
fn write(list: &BTreeMap<EndpointId, Departure>) -> io::Result<File> {
    let file = File::from(memfd_create("kmesh-departed", MFdFlags::MFD_CLOEXEC)?);
    let mut writer = BufWriter::new(file);
    let kept: Vec<_> = list
        .iter()
        .map(|(id, it)| KeptDeparture {
            id: id.index(),
            peers: it.peers.clone(),
            departed: it.departed.clone(),
        })
        .collect();
    serde_json::to_writer(&mut writer, &kept)?;
    writer.flush()?;
    Ok(writer.into_inner()?)
}

fn read(mut file: File) -> io::Result<BTreeMap<EndpointId, Departure>> {
    file.rewind()?;
    let kept: Vec<KeptDeparture> = serde_json::from_reader(BufReader::new(file))?;
    let list = kept.into_iter().filter_map(|it| {
        Some((
            EndpointId::from_index(it.id)?,
            Departure::new(it.departed, it.peers),
        ))
    });
    Ok(list.collect())
}
