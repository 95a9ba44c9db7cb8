//! What moments are about: ids in the words of the tables, cgroups by their paths.
//!
//! In: tables, from the loop after each pass. Out: events, for the thread that hears the programs. To find
//! words may take a while in a large mesh; the loop does not wait for it.

use crate::api::ConnectionEvent;
use crate::host::{Cgroups, monotonic};
use crate::report::{Names, Told};
use crate::tables::Tables;
use jiff::Timestamp;
use kmesh_lite_common::Moment;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Paths of cgroups that are remembered.
const CGROUPS: usize = 4096;

#[derive(Default)]
pub struct Naming {
    /// Tables that nothing was told by yet.
    newest: Mutex<Option<Tables>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    names: Option<Names>,
    cgroups: BTreeMap<u64, Option<PathBuf>>,
}

impl Naming {
    /// What ids stand for from now on.
    pub fn follow(&self, tables: Tables) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(tables);
        // Nothing is to keep the old ones alive while nothing happens.
        if let Ok(mut known) = self.known.try_lock() {
            known.names = None;
        }
    }

    /// A moment in words; none before there are any.
    pub fn tell(&self, moment: &Moment) -> Option<ConnectionEvent> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.take();
        let Known { names, cgroups } = &mut *known;
        if let Some(tables) = newest {
            *names = Some(Names::new(tables));
        }
        let cgroup = path(cgroups, moment.cgroup);
        Some(names.as_mut()?.tell(&Told {
            moment,
            cgroup: cgroup.as_deref(),
            monotonic: monotonic(),
            now: Timestamp::now(),
        }))
    }
}

/// The path of a cgroup. The programs of one begin and end connections again and again.
fn path(known: &mut BTreeMap<u64, Option<PathBuf>>, id: u64) -> Option<PathBuf> {
    if let Some(path) = known.get(&id) {
        return path.clone();
    }
    if known.len() >= CGROUPS {
        known.clear();
    }
    let found = Cgroups::find().ok();
    let path = found.and_then(|cgroups| cgroups.paths([id].into_iter()).remove(&id));
    known.insert(id, path.clone());
    path
}
