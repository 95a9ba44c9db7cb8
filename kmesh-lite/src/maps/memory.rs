//! The tables in plain memory, slot for slot as the kernel has them: for tests, and for `plan`
//! where no kernel can be asked.

use super::{Contents, Maps, MapsError, assemble};
use crate::model::Limits;
use crate::plan::{Op, Row};
use crate::tables::{Actual, Table};
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, BackendId, Caller, Endpoint, Frontend, FrontendId,
    FrontendKey, Range, Row as RowType, Service, ServiceId, Settings, Slot, Stamp, Waypoint,
    WaypointId,
};
use kmesh_lite_ebpf::Lookup;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Slots by index; an absent one is empty.
type Slots<T> = BTreeMap<u32, Slot<T>>;

/// Tables in memory, which can also be looked up in as the programs do.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    limits: Limits,
    pub settings: Settings,
    pub waypoints: Slots<Waypoint>,
    pub backends: Slots<Backend>,
    pub services: Slots<Service>,
    pub frontends: Slots<Frontend>,
    pub addresses: Slots<AddressRow>,
    pub endpoints: BTreeMap<u32, Endpoint>,
    pub address_ids: BTreeMap<Address, AddressId>,
    pub frontend_ids: BTreeMap<FrontendKey, FrontendId>,
    pub callers: BTreeMap<u64, Caller>,
    /// Who connects, in lookups.
    pub caller: Cell<Option<Caller>>,
    /// State of the generator behind [`Lookup::random`].
    pub random: Cell<u64>,
}

impl Memory {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    fn row<'a, T: RowType>(&self, slots: &'a Slots<T>, index: u32) -> Option<&'a T> {
        // SAFETY: borrowed for as long as the answer.
        unsafe { Slot::read(slots.get(&index)?, self.settings.generation) }
    }

    fn range(&self, range: Range) -> Option<Vec<Endpoint>> {
        let end = range.first.checked_add(range.count)?;
        let rows: Vec<_> = self
            .endpoints
            .range(range.first..end)
            .map(|(_, row)| *row)
            .collect();
        (rows.len() == range.count as usize).then_some(rows)
    }
}

fn put<T: RowType>(slots: &mut Slots<T>, index: u32, row: T, generation: u64, live: bool) {
    let slot = slots.entry(index).or_insert(Slot {
        stamps: [Stamp::NEVER; 2],
        rows: [row; 2],
    });
    let spare = Slot::<T>::newest(slot.stamps, generation - 1).map_or(0, |counts| 1 - counts);
    slot.rows[spare] = row;
    slot.stamps[spare] = Stamp::new(generation, live);
}

fn scrub<T: RowType>(slots: &mut Slots<T>, index: u32, generation: u64) {
    let Some(slot) = slots.get_mut(&index) else {
        return;
    };
    for stamp in slot
        .stamps
        .iter_mut()
        .filter(|stamp| stamp.generation() > generation)
    {
        *stamp = Stamp::NEVER;
    }
}

impl Maps for Memory {
    fn capacity(&self, table: Table) -> u32 {
        table.rows(&self.limits)
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        let list = |keys: &BTreeMap<_, _>| keys.iter().map(|(key, id)| (*key, Some(*id))).collect();
        let contents = Contents {
            settings: self.settings,
            waypoints: self.waypoints.clone().into_iter().collect(),
            backends: self.backends.clone().into_iter().collect(),
            services: self.services.clone().into_iter().collect(),
            frontends: self.frontends.clone().into_iter().collect(),
            addresses: self.addresses.clone().into_iter().collect(),
            address_ids: self
                .address_ids
                .iter()
                .map(|(key, id)| (*key, Some(*id)))
                .collect(),
            frontend_ids: list(&self.frontend_ids),
            callers: self.callers.clone(),
        };
        Ok(assemble(contents, |range| self.range(range)))
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        match op {
            Op::Put(row) | Op::Retire(row) => {
                let live = matches!(op, Op::Put(_));
                let index = row.index();
                match *row {
                    Row::Waypoint(_, row) => put(&mut self.waypoints, index, row, generation, live),
                    Row::Backend(_, row) => put(&mut self.backends, index, row, generation, live),
                    Row::Service(_, row) => put(&mut self.services, index, row, generation, live),
                    Row::Frontend(id, row) => {
                        put(&mut self.frontends, index, row, generation, live);
                        if live {
                            self.frontend_ids.insert(row.key, id);
                        }
                    }
                    Row::Address(id, row) => {
                        put(&mut self.addresses, index, row, generation, live);
                        if live {
                            self.address_ids.insert(row.address, id);
                        }
                    }
                }
            }
            Op::PutRange(first, rows) => {
                self.endpoints.extend((*first..).zip(rows.iter().copied()));
            }
            Op::Commit => self.settings.generation = generation,
            Op::Free(row) => {
                match row {
                    Row::Frontend(_, row) => drop(self.frontend_ids.remove(&row.key)),
                    Row::Address(_, row) => drop(self.address_ids.remove(&row.address)),
                    _ => {}
                }
                self.apply(&Op::FreeSlot(row.table(), row.index()), generation)?;
            }
            Op::FreeSlot(table, index) => match table {
                Table::Waypoints => drop(self.waypoints.remove(index)),
                Table::Backends => drop(self.backends.remove(index)),
                Table::Services => drop(self.services.remove(index)),
                Table::Frontends => drop(self.frontends.remove(index)),
                Table::Addresses => drop(self.addresses.remove(index)),
                Table::Endpoints => {}
            },
            Op::Scrub(table, index) => {
                let now = generation - 1;
                match table {
                    Table::Waypoints => scrub(&mut self.waypoints, *index, now),
                    Table::Backends => scrub(&mut self.backends, *index, now),
                    Table::Services => scrub(&mut self.services, *index, now),
                    Table::Frontends => scrub(&mut self.frontends, *index, now),
                    Table::Addresses => scrub(&mut self.addresses, *index, now),
                    Table::Endpoints => {}
                }
            }
            Op::DropAddress(address) => drop(self.address_ids.remove(address)),
            Op::DropFrontend(key) => drop(self.frontend_ids.remove(key)),
            Op::PutCaller(cgroup, caller) => drop(self.callers.insert(*cgroup, *caller)),
            Op::CallerLevels(levels) => self.settings.caller_levels = *levels,
            Op::DropCaller(cgroup) => drop(self.callers.remove(cgroup)),
        }
        Ok(())
    }
}

impl Lookup for Memory {
    fn address(&self, address: &Address) -> Option<&AddressRow> {
        self.row(&self.addresses, self.address_ids.get(address)?.index())
    }

    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
        self.row(&self.frontends, self.frontend_ids.get(key)?.index())
    }

    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.row(&self.services, id.index())
    }

    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        self.endpoints.get(&index)
    }

    fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.row(&self.backends, id.index())
    }

    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint> {
        self.row(&self.waypoints, id.index())
    }

    fn caller(&self) -> Caller {
        self.caller.get().unwrap_or(Caller::Ordinary)
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014): tests want the same draws every time.
    fn random(&self) -> u32 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}
