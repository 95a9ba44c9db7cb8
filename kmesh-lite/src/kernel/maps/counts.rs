//! What is counted by ids: read, and handed over to maps that replace these.

use super::{KernelMaps, Readers, error};
use crate::kernel::connections::Gone;
use crate::kernel::counters::{self, Counts};
use crate::maps::MapsError;
use crate::tables::{Counters, Declared, IdMap, Tables, each, for_each_table};
use kmesh_lite_common::{AuthorizationId, EndpointId};
use kmesh_lite_ebpf::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

impl KernelMaps {
    /// Reads the counters of everything in `tables`.
    pub fn counters(&self, tables: &Tables) -> Result<Counters, MapsError> {
        let outcome =
            |outcome: &Outcome| Ok((*outcome, counters::sum(&self.outcomes, *outcome as u32)?));
        let outcomes = Outcome::ALL.iter().map(outcome);
        Ok(Counters {
            outcomes: outcomes
                .collect::<io::Result<_>>()
                .map_err(error("read", "counters"))?,
            connects: each!(T => {
                let ids: Vec<_> = T::part(&tables.rows).keys().copied().collect();
                match &T::part(&self.tables).connects {
                    Some(connects) => counted(connects, ids, T::index)?,
                    None => BTreeMap::new(),
                }
            }),
            arrivals: each!(T => {
                let ids: Vec<_> = T::part(&tables.rows).keys().copied().collect();
                match &T::part(&self.tables).arrivals {
                    Some(arrivals) => counted(arrivals, ids, T::index)?,
                    None => BTreeMap::new(),
                }
            }),
            endpoints: {
                let ids = tables.endpoint_ids().into_iter();
                // One that somebody else wrote may lead nowhere.
                let ids = ids.filter(|id| id.index() < self.endpoint_connects.len());
                counted(&self.endpoint_connects, ids.collect(), |id| id.index())?
            },
            open: {
                let open = self.open.as_ref().map(|open| open.read(tables));
                let open = open.transpose().map_err(error("read", "counters"))?;
                open.unwrap_or_default()
            },
        })
    }

    /// Reads the counters of authorization policies alone: connects, and what arrived.
    pub fn refused(&self, tables: &Tables) -> Result<BTreeMap<AuthorizationId, u64>, MapsError> {
        let table = &self.tables.authorizations;
        let mut refused = BTreeMap::new();
        for counts in [&table.connects, &table.arrivals].into_iter().flatten() {
            let ids = tables.rows.authorizations.keys().copied().collect();
            for (id, count) in counted(counts, ids, AuthorizationId::index)? {
                *refused.entry(id).or_default() += count;
            }
        }
        Ok(refused)
    }

    /// Hands over what is known by ids to the maps that replace these, before any program reads those: counts, and
    /// what connections are to forget. `tables` are those before and after; ids that are `resumed` go on to count.
    pub fn hand_over(
        &mut self,
        to: &mut Self,
        tables: [&Tables; 2],
        resumed: &BTreeSet<EndpointId>,
    ) -> Result<(), MapsError> {
        let [before, after] = tables;
        self.wait(Readers::MayHoldKeys)
            .map_err(error("write to", "connections"))?;
        self.copy_counters(to, tables)?;
        let (old, new) = (before.endpoint_ids(), after.endpoint_ids());
        let handed_out = new.difference(&old).filter(|id| !resumed.contains(id));
        to.forget(&Gone {
            endpoints: handed_out.map(|id| id.index() + 1).collect(),
            ..Gone::default()
        })
        .map_err(error("write to", "connections"))?;
        // Until a grace period after the links are switched, programs choose by the old tables.
        let (old, new) = (&before.rows, &after.rows);
        to.gone = Gone {
            services: gone(&old.services, &new.services),
            backends: gone(&old.backends, &new.backends),
            waypoints: gone(&old.waypoints, &new.waypoints),
            ..Gone::default()
        };
        to.readers = Readers::MayHoldRows;
        Ok(())
    }

    /// Carries counts over, of what is in `tables` before and after. Connects of the moment may be lost to the
    /// count.
    fn copy_counters(&self, to: &mut Self, tables: [&Tables; 2]) -> Result<(), MapsError> {
        let [before, after] = tables;
        let outcomes = 0..Outcome::ALL.len() as u32;
        counters::copy(&self.outcomes, &mut to.outcomes, outcomes)
            .map_err(error("copy", "counters"))?;
        for_each_table!(T => {
            let (from, to) = (T::part(&self.tables), T::part_mut(&mut to.tables));
            let pairs = [
                (&from.connects, &mut to.connects),
                (&from.arrivals, &mut to.arrivals),
            ];
            for pair in pairs {
                if let (Some(from), Some(to)) = pair {
                    let ids = T::part(&after.rows).keys().map(|id| T::index(*id));
                    counters::copy(from, to, ids).map_err(error("copy", "counters"))?;
                }
            }
        });
        // A number that is handed out again has not been set to zero here.
        let (before, after) = (before.endpoint_ids(), after.endpoint_ids());
        let indexes = before.intersection(&after).map(|id| id.index());
        counters::copy(&self.endpoint_connects, &mut to.endpoint_connects, indexes)
            .map_err(error("copy", "counters"))
    }
}

/// Ids of rows that one has and the other has not, as numbers from 1.
fn gone<T: Declared>(before: &IdMap<T>, after: &IdMap<T>) -> BTreeSet<u32> {
    let ids = before.keys().filter(|id| !after.contains_key(id));
    ids.map(|id| T::index(*id) + 1).collect()
}

/// The counts of these ids.
fn counted<I: Copy + Ord>(
    counters: &Counts,
    ids: Vec<I>,
    index: impl Fn(I) -> u32,
) -> Result<BTreeMap<I, u64>, MapsError> {
    let indexes: Vec<_> = ids.iter().map(|id| index(*id)).collect();
    let counts = counters::sums(counters, &indexes).map_err(error("read", "counters"))?;
    Ok(ids.into_iter().zip(counts).collect())
}
