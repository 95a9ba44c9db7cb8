//! From the contents of the maps to the tables that count.

use crate::tables::{
    self, Actual, ById, Declared, Each, IdMap, Leftovers, Shape, Tables, each, for_each_table,
};
use kmesh_lite_common::{Caller, Endpoint, Settings, Slot, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What an implementation of [`super::Maps`] reads.
pub struct Contents {
    pub settings: Settings,
    pub slots: Each<Read>,
    pub callers: BTreeMap<u64, Caller>,
}

/// One table as it was read.
pub struct TableContents<T: Declared> {
    /// Slots that are not empty, by index.
    pub slots: Vec<(u32, Slot<T::Row>)>,
    /// Where programs search by key: the keys and the ids that they lead to, as numbers from 1.
    pub keys: Vec<(T::Key, u32)>,
}

impl<T: Declared> Default for TableContents<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// The shape of [`Contents`].
pub struct Read;

impl Shape for Read {
    type Of<T: Declared> = TableContents<T>;
}

/// Past any generation that plans reach: the word was written by somebody else, and a plan could not
/// go on counting from it.
const ABSURD: u64 = 1 << 62;

/// Sorts out what counts at the current generation. `endpoints` reads rows, from the first and as many as
/// it is told; it may be asked for rows that do not exist, if somebody else wrote to the tables.
pub fn assemble(
    contents: Contents,
    endpoints: impl Fn(u32, u32) -> Option<Vec<Endpoint>>,
) -> Actual {
    let generation = match contents.settings.generation {
        sensible @ 0..ABSURD => sensible,
        // Then everything goes on counting, and the next plan mends the word.
        _ => newest(&contents.slots),
    };
    at(generation, contents, endpoints)
}

/// The same for some of the slots, which cannot tell what the newest generation is: the word counts,
/// whatever it is.
pub fn assemble_some(
    contents: Contents,
    endpoints: impl Fn(u32, u32) -> Option<Vec<Endpoint>>,
) -> Actual {
    at(contents.settings.generation, contents, endpoints)
}

fn at(
    generation: u64,
    mut contents: Contents,
    endpoints: impl Fn(u32, u32) -> Option<Vec<Endpoint>>,
) -> Actual {
    let mut leftovers = Leftovers::default();
    let rows: Each<ById> = each!(T => {
        let contents = std::mem::take(T::part_mut(&mut contents.slots));
        sort::<T>(contents, generation, &mut leftovers)
    });
    // A slot that is emptied needs no scrubbing.
    leftovers
        .versions
        .retain(|slot| !leftovers.slots.contains(slot));

    let mut ranges: BTreeMap<u32, Arc<[Endpoint]>> = BTreeMap::new();
    for service in rows.services.values() {
        for range in tables::ranges(service) {
            let length = tables::length(range, service.columns);
            // Families mostly share their ranges.
            let known = ranges.get(&range.first);
            if known.is_some_and(|rows| rows.len() == length) {
                continue;
            }
            let length = u32::try_from(length).ok();
            if let Some(rows) = length.and_then(|length| endpoints(range.first, length)) {
                ranges.insert(range.first, rows.into());
            }
        }
    }
    Actual {
        generation,
        tables: Tables {
            rows,
            endpoints: ranges.into(),
            callers: contents.callers,
            caller_levels: contents.settings.caller_levels,
            accounting: contents.settings.accounting == 1,
        },
        leftovers,
    }
}

/// The newest sensible generation that any slot has.
fn newest(slots: &Each<Read>) -> u64 {
    let mut newest = 0;
    for_each_table!(T => {
        let stamps = T::part(slots).slots.iter().flat_map(|(_, slot)| slot.stamps);
        let sensible = stamps.map(Stamp::generation).filter(|it| *it < ABSURD);
        newest = sensible.fold(newest, u64::max);
    });
    newest
}

/// Sorts rows that count from leftovers.
fn sort<T: Declared>(
    contents: TableContents<T>,
    generation: u64,
    leftovers: &mut Leftovers,
) -> IdMap<T> {
    let mut rows = IdMap::default();
    for (index, slot) in contents.slots {
        // SAFETY: a copy that nobody else can see.
        let counts = unsafe { Slot::read(&slot, generation) };
        match counts.and_then(|row| Some((T::id(index)?, *row))) {
            Some((id, row)) => {
                let ahead = |stamp: &Stamp| stamp.generation() > generation;
                if slot.stamps.iter().any(ahead) {
                    leftovers.versions.insert((T::TABLE, index));
                }
                rows.insert(id, row);
            }
            None => drop(leftovers.slots.insert((T::TABLE, index))),
        }
    }
    match T::KEYS {
        Some(_) => follow::<T>(contents.keys, rows, leftovers),
        None => rows,
    }
}

/// A row counts only where its key leads to it, and a key only where it leads to its row.
fn follow<T: Declared>(
    keys: Vec<(T::Key, u32)>,
    mut rows: IdMap<T>,
    leftovers: &mut Leftovers,
) -> IdMap<T> {
    let mut reached = BTreeSet::new();
    for (key, number) in keys {
        let id = number.checked_sub(1).and_then(T::id);
        match id.filter(|id| rows.get(id).is_some_and(|row| T::key(row) == key)) {
            Some(id) => drop(reached.insert(id)),
            None => drop(leftovers.keys.insert(T::wrap(key))),
        }
    }
    let unreached = rows.keys().filter(|id| !reached.contains(id));
    for id in unreached.copied().collect::<Vec<_>>() {
        rows.remove(&id);
        leftovers.slots.insert((T::TABLE, T::index(id)));
    }
    rows
}
