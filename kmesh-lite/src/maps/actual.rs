//! From the contents of the maps to the tables that count.

use crate::tables::{
    Actual, ById, Declared, Each, ForEach, Leftovers, Make, Shape, Tables, for_each,
};
use kmesh_lite_common::{Caller, Endpoint, Range, Settings, Slot, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

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

/// The shape of [`Contents`].
pub struct Read;

impl Shape for Read {
    type Of<T: Declared> = TableContents<T>;
}

/// Past any generation that plans reach: the word was written by somebody else, and a plan could not
/// go on counting from it.
const ABSURD: u64 = 1 << 62;

/// Sorts out what counts at the current generation. `endpoints` reads one range; it may be asked
/// for rows that do not exist, if somebody else wrote to the tables.
pub fn assemble(
    mut contents: Contents,
    endpoints: impl Fn(Range) -> Option<Vec<Endpoint>>,
) -> Actual {
    let generation = match contents.settings.generation {
        sensible @ 0..ABSURD => sensible,
        // Then everything goes on counting, and the next plan mends the word.
        _ => Newest::of(&contents.slots),
    };
    let mut sort = Sort {
        contents: &mut contents.slots,
        generation,
        leftovers: Leftovers::default(),
    };
    let Ok(rows) = Each::<ById>::make(&mut sort);
    let mut leftovers = sort.leftovers;
    // A slot that is emptied needs no scrubbing.
    leftovers
        .versions
        .retain(|slot| !leftovers.slots.contains(slot));

    let mut ranges: BTreeMap<u32, Vec<Endpoint>> = BTreeMap::new();
    for service in rows.services.values() {
        let used = service.v4.iter().chain(&service.v6);
        for range in used.filter(|range| range.count > 0) {
            // Families mostly share their ranges.
            let known = ranges.get(&range.first);
            if known.is_some_and(|rows| rows.len() == range.count as usize) {
                continue;
            }
            if let Some(rows) = endpoints(*range) {
                ranges.insert(range.first, rows);
            }
        }
    }
    Actual {
        generation,
        tables: Tables {
            rows,
            endpoints: ranges,
            callers: contents.callers,
            caller_levels: contents.settings.caller_levels,
        },
        leftovers,
    }
}

/// The newest sensible generation that any slot has.
struct Newest<'a>(&'a Each<Read>, u64);

impl Newest<'_> {
    fn of(slots: &Each<Read>) -> u64 {
        let mut newest = Newest(slots, 0);
        for_each(&mut newest);
        newest.1
    }
}

impl ForEach for Newest<'_> {
    fn table<T: Declared>(&mut self) {
        let stamps = T::part(self.0)
            .slots
            .iter()
            .flat_map(|(_, slot)| slot.stamps);
        let sensible = stamps.map(Stamp::generation).filter(|it| *it < ABSURD);
        self.1 = sensible.fold(self.1, u64::max);
    }
}

/// Sorts rows that count from leftovers.
struct Sort<'a> {
    contents: &'a mut Each<Read>,
    generation: u64,
    leftovers: Leftovers,
}

impl Make<ById> for Sort<'_> {
    type Error = Infallible;

    fn part<T: Declared>(&mut self) -> Result<BTreeMap<T::Id, T::Row>, Infallible> {
        let contents = T::part_mut(self.contents);
        let slots = std::mem::take(&mut contents.slots);
        let keys = std::mem::take(&mut contents.keys);
        let mut rows = Vec::with_capacity(slots.len());
        for (index, slot) in slots {
            // SAFETY: a copy that nobody else can see.
            let counts = unsafe { Slot::read(&slot, self.generation) };
            match counts.and_then(|row| Some((T::id(index)?, *row))) {
                Some(row) => {
                    let ahead = |stamp: &Stamp| stamp.generation() > self.generation;
                    if slot.stamps.iter().any(ahead) {
                        self.leftovers.versions.insert((T::TABLE, index));
                    }
                    rows.push(row);
                }
                None => drop(self.leftovers.slots.insert((T::TABLE, index))),
            }
        }
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        Ok(match T::KEYS {
            Some(_) => self.follow::<T>(keys, rows),
            None => rows,
        })
    }
}

impl Sort<'_> {
    /// A row counts only where its key leads to it, and a key only where it leads to its row.
    fn follow<T: Declared>(
        &mut self,
        keys: Vec<(T::Key, u32)>,
        mut rows: BTreeMap<T::Id, T::Row>,
    ) -> BTreeMap<T::Id, T::Row> {
        let mut reached = BTreeSet::new();
        for (key, number) in keys {
            let id = number.checked_sub(1).and_then(T::id);
            match id.filter(|id| rows.get(id).is_some_and(|row| T::key(row) == key)) {
                Some(id) => drop(reached.insert(id)),
                None => drop(self.leftovers.keys.insert(T::wrap(key))),
            }
        }
        rows.retain(|id, _| {
            let counts = reached.contains(id);
            if !counts {
                self.leftovers.slots.insert((T::TABLE, T::index(*id)));
            }
            counts
        });
        rows
    }
}
