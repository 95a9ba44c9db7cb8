//! From the contents of the maps to the tables that count.

use crate::tables::{Actual, Leftovers, Table, Tables};
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, BackendId, Caller, Endpoint, Frontend, FrontendId,
    FrontendKey, Range, Row, Service, ServiceId, Settings, Slot, Stamp, Waypoint, WaypointId,
};
use std::collections::BTreeMap;

/// What an implementation of [`super::Maps`] reads: slots that are not empty, by index, and the two
/// indexes.
#[derive(Debug, Default)]
pub struct Contents {
    pub settings: Settings,
    pub waypoints: Vec<(u32, Slot<Waypoint>)>,
    pub backends: Vec<(u32, Slot<Backend>)>,
    pub services: Vec<(u32, Slot<Service>)>,
    pub frontends: Vec<(u32, Slot<Frontend>)>,
    pub addresses: Vec<(u32, Slot<AddressRow>)>,
    pub address_ids: Vec<(Address, Option<AddressId>)>,
    pub frontend_ids: Vec<(FrontendKey, Option<FrontendId>)>,
    pub callers: BTreeMap<u64, Caller>,
}

/// Past any generation that plans reach: the word was written by somebody else, and a plan could not
/// go on counting from it.
const ABSURD: u64 = 1 << 62;

impl Contents {
    /// Which generation counts. Where the word says nothing sensible, the newest that any row has:
    /// then everything goes on counting, and the next plan mends the word.
    fn generation(&self) -> u64 {
        fn stamps<T>(slots: &[(u32, Slot<T>)]) -> impl Iterator<Item = Stamp> {
            slots.iter().flat_map(|(_, slot)| slot.stamps)
        }
        match self.settings.generation {
            sensible @ 0..ABSURD => sensible,
            _ => stamps(&self.waypoints)
                .chain(stamps(&self.backends))
                .chain(stamps(&self.services))
                .chain(stamps(&self.frontends))
                .chain(stamps(&self.addresses))
                .map(Stamp::generation)
                .filter(|generation| *generation < ABSURD)
                .max()
                .unwrap_or(0),
        }
    }
}

/// Sorts out what counts at the current generation. `endpoints` reads one range; it may be asked
/// for rows that do not exist, if somebody else wrote to the tables.
pub fn assemble(contents: Contents, endpoints: impl Fn(Range) -> Option<Vec<Endpoint>>) -> Actual {
    let generation = contents.generation();
    let mut leftovers = Leftovers::default();
    let mut sort = |table, index, counts| match counts {
        Counts::Yes => {}
        Counts::WithScrap => drop(leftovers.versions.insert((table, index))),
        Counts::No => drop(leftovers.slots.insert((table, index))),
    };
    let waypoints = rows(contents.waypoints, generation, Table::Waypoints, &mut sort);
    let backends = rows(contents.backends, generation, Table::Backends, &mut sort);
    let services = rows(contents.services, generation, Table::Services, &mut sort);
    let frontends = rows(contents.frontends, generation, Table::Frontends, &mut sort);
    let addresses = rows(contents.addresses, generation, Table::Addresses, &mut sort);
    let mut frontends: BTreeMap<_, _> = frontends.into_iter().collect();
    let mut addresses: BTreeMap<_, _> = addresses.into_iter().collect();

    // A row counts only where its key leads to it, and a key only where it leads to its row.
    let found = follow(
        contents.address_ids,
        AddressId::index,
        &mut addresses,
        |row| row.address,
        |key| {
            leftovers.addresses.insert(key);
        },
    );
    leftovers
        .slots
        .extend(found.into_iter().map(|index| (Table::Addresses, index)));
    let found = follow(
        contents.frontend_ids,
        FrontendId::index,
        &mut frontends,
        |row| row.key,
        |key| {
            leftovers.frontends.insert(key);
        },
    );
    leftovers
        .slots
        .extend(found.into_iter().map(|index| (Table::Frontends, index)));
    // A slot that is emptied needs no scrubbing.
    leftovers
        .versions
        .retain(|slot| !leftovers.slots.contains(slot));

    let mut ranges = BTreeMap::new();
    for (_, service) in &services {
        for range in service
            .v4
            .iter()
            .chain(&service.v6)
            .filter(|range| range.count > 0)
        {
            // Families mostly share their ranges.
            let known: Option<&Vec<_>> = ranges.get(&range.first);
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
            waypoints: with_ids(waypoints, WaypointId::from_index),
            backends: with_ids(backends, BackendId::from_index),
            endpoints: ranges,
            services: with_ids(services, ServiceId::from_index),
            frontends: with_ids(frontends, FrontendId::from_index),
            addresses: with_ids(addresses, AddressId::from_index),
            callers: contents.callers,
            caller_levels: contents.settings.caller_levels,
        },
        leftovers,
    }
}

enum Counts {
    Yes,
    /// One version does, the other is for a generation that never came.
    WithScrap,
    No,
}

fn rows<T: Row>(
    slots: Vec<(u32, Slot<T>)>,
    generation: u64,
    table: Table,
    sort: &mut impl FnMut(Table, u32, Counts),
) -> Vec<(u32, T)> {
    let mut rows = Vec::with_capacity(slots.len());
    for (index, slot) in slots {
        // SAFETY: a copy that nobody else can see.
        match unsafe { Slot::read(&slot, generation) } {
            Some(row) => {
                let scrap = slot
                    .stamps
                    .iter()
                    .any(|stamp| stamp.generation() > generation);
                sort(
                    table,
                    index,
                    if scrap {
                        Counts::WithScrap
                    } else {
                        Counts::Yes
                    },
                );
                rows.push((index, *row));
            }
            None => sort(table, index, Counts::No),
        }
    }
    rows
}

/// Removes the rows that no key leads to, and gives their indexes; hands keys that lead to no row
/// of theirs to `stray`.
fn follow<K: Eq, I: Copy, T: Copy>(
    keys: Vec<(K, Option<I>)>,
    index: impl Fn(I) -> u32,
    rows: &mut BTreeMap<u32, T>,
    key_of: impl Fn(&T) -> K,
    mut stray: impl FnMut(K),
) -> Vec<u32> {
    let mut reached = BTreeMap::new();
    for (key, id) in keys {
        let row = id.and_then(|id| rows.remove_entry(&index(id)));
        match row {
            Some((at, row)) if key_of(&row) == key => drop(reached.insert(at, row)),
            Some((at, row)) => {
                // Not this key's; its own key may still come.
                rows.insert(at, row);
                stray(key);
            }
            None => stray(key),
        }
    }
    std::mem::swap(rows, &mut reached);
    reached.into_keys().collect()
}

fn with_ids<I: Ord, T>(
    rows: impl IntoIterator<Item = (u32, T)>,
    id: impl Fn(u32) -> Option<I>,
) -> BTreeMap<I, T> {
    rows.into_iter()
        .filter_map(|(index, row)| Some((id(index)?, row)))
        .collect()
}
