//! What tables use up: ids by key, counters, stretches of the endpoint table.

use super::Tables;
use super::declared::{Declared, Each, Noun, Shape, each, for_each_table};
use super::ids::Known;
use super::space::Space;
use kmesh_lite_common::{Endpoint, EndpointId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everything that the next tables must keep or stay away from. It follows from the tables, and is kept from
/// pass to pass because it takes a look at all of them to find out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    pub ids: Each<ByKey>,
    pub free: Each<Free>,
    /// Free counters of endpoints.
    pub counters: Space,
    /// Free rows of the endpoint table.
    pub endpoints: Space,
}

/// The shape of ids by key.
#[derive(Clone, Copy, Debug)]
pub struct ByKey;

impl Shape for ByKey {
    type Of<T: Declared> = Known<T::Key>;
}

/// The shape of free ids.
#[derive(Clone, Copy, Debug)]
pub struct Free;

impl Shape for Free {
    type Of<T: Declared> = Space;
}

impl Taken {
    /// What tables with so many counters use up.
    pub fn of(tables: &Tables, limit: u32) -> Self {
        // One that is beyond the table was put there by somebody else, and keeps no other away.
        let rows = tables.endpoints.values().flat_map(|rows| rows.iter());
        let counters = rows.filter_map(|row| row.own.endpoint);
        let mut counters: Vec<_> = counters.map(|id| id.index()).collect();
        counters.retain(|index| *index < limit);
        counters.sort_unstable();
        let ranges = tables.endpoints.iter();
        Self {
            ids: each!(T => {
                let rows = T::part(&tables.rows);
                let mut ids = Known::with_capacity_and_hasher(rows.len(), Default::default());
                ids.extend(rows.iter().map(|(id, row)| (T::key(row), T::index(*id))));
                ids
            }),
            free: each!(T => {
                let ids = T::part(&tables.rows).keys();
                Space::beside(ids.map(|id| (T::index(*id), 1)))
            }),
            counters: Space::beside(counters.into_iter().map(|index| (index, 1))),
            endpoints: Space::beside(ranges.map(|(first, rows)| (*first, rows.len() as u32))),
        }
    }

    /// What `after` uses, where this is what `before` does.
    pub fn follow(&mut self, before: &Tables, after: &Tables) {
        for_each_table!(T => {
            let (before, after) = (T::part(&before.rows), T::part(&after.rows));
            let (ids, free) = (T::part_mut(&mut self.ids), T::part_mut(&mut self.free));
            let differing = before.differing(after);
            for id in &differing {
                if let Some(row) = before.get(id) {
                    ids.remove(&T::key(row));
                    if !after.contains_key(id) {
                        free.release(T::index(*id), 1);
                    }
                }
            }
            for id in &differing {
                if let Some(row) = after.get(id) {
                    ids.insert(T::key(row), T::index(*id));
                    if !before.contains_key(id) {
                        free.take(T::index(*id), 1);
                    }
                }
            }
        });
        let (old, new) = changed_ranges(before, after);
        for (first, rows) in &old {
            self.endpoints.release(*first, rows.len() as u32);
        }
        for (first, rows) in &new {
            self.endpoints.take(*first, rows.len() as u32);
        }
        let (old, new) = (counters(&old), counters(&new));
        for id in old.difference(&new) {
            self.counters.release(id.index(), 1);
        }
        for id in new.difference(&old) {
            self.counters.take(id.index(), 1);
        }
    }
}

/// A range by its first row.
type Ranges<'a> = Vec<(u32, &'a Arc<[Endpoint]>)>;

/// Ranges that only one side has, or that are not the same in both: those of each side.
pub fn changed_ranges<'a>(before: &'a Tables, after: &'a Tables) -> (Ranges<'a>, Ranges<'a>) {
    use imbl::ordmap::DiffItem;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for change in before.endpoints.diff(&after.endpoints) {
        match change {
            DiffItem::Remove(first, rows) => old.push((*first, rows)),
            DiffItem::Add(first, rows) => new.push((*first, rows)),
            DiffItem::Update {
                old: (_, was),
                new: (first, is),
            } => {
                old.push((*first, was));
                new.push((*first, is));
            }
        }
    }
    (old, new)
}

/// The counters of the endpoints of ranges.
pub fn counters(ranges: &Ranges<'_>) -> BTreeSet<EndpointId> {
    let rows = ranges.iter().flat_map(|(_, rows)| rows.iter());
    rows.filter_map(|row| row.own.endpoint).collect()
}
