//! Some rows of the tables: those that a plan writes.

use crate::tables::{self, Declared, Each, Noun, Shape, Tables, each, for_each_table};
use std::collections::BTreeSet;

/// Rows by their places and keys. The ranges of the services among them belong to it, and so do settings
/// and callers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub slots: Each<Places>,
    pub keys: Each<Keys>,
}

/// The shape of places in tables.
#[derive(Clone, Copy, Debug)]
pub struct Places;

impl Shape for Places {
    type Of<T: Declared> = BTreeSet<u32>;
}

/// The shape of the keys by which programs find rows.
#[derive(Clone, Copy, Debug)]
pub struct Keys;

impl Shape for Keys {
    type Of<T: Declared> = BTreeSet<T::Key>;
}

impl Selection {
    /// The rows in which two tables differ.
    pub fn between(before: &Tables, after: &Tables) -> Self {
        let mut selection = Self::default();
        for_each_table!(T => {
            let (before, after) = (T::part(&before.rows), T::part(&after.rows));
            for id in before.differing(after) {
                T::part_mut(&mut selection.slots).insert(T::index(id));
                if T::KEYS.is_some() {
                    let rows = [before.get(&id), after.get(&id)];
                    let keys = rows.into_iter().flatten().map(T::key);
                    T::part_mut(&mut selection.keys).extend(keys);
                }
            }
        });
        selection
    }

    /// The part of `tables` that is selected.
    pub fn of(&self, tables: &Tables) -> Tables {
        let rows: Each<tables::ById> = each!(T => {
            let rows = T::part(&tables.rows);
            let ids = T::part(&self.slots).iter().filter_map(|index| T::id(*index));
            ids.filter_map(|id| Some((id, *rows.get(&id)?))).collect()
        });
        let services = rows.services.values();
        let firsts = services.flat_map(|row| tables::ranges(row).map(|range| range.first));
        let ranges =
            firsts.filter_map(|first| Some((first, tables.endpoints.get(&first)?.clone())));
        Tables {
            endpoints: ranges.collect(),
            rows,
            callers: tables.callers.clone(),
            caller_levels: tables.caller_levels,
            accounting: tables.accounting,
        }
    }
}
