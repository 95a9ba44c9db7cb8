//! The tables in plain memory, slot for slot as the kernel has them: for tests, and for `plan`
//! where no kernel can be asked.

use super::{Contents, Maps, MapsError, Selection, TableContents, assemble, assemble_some};
use crate::model::{Limits, Table};
use crate::plan::Op;
use crate::tables::{
    Actual, Declared, Each, Key, Noun, OpenConnections, Shape, each, longest, on_key, on_row,
    on_table,
};
use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Caller, ClientKey, ClientsBy, Destination, Endpoint,
    EndpointId, Frontend, FrontendKey, Guard, GuardId, Held, Judgement, Nameserver, Port, Protocol,
    Row as RowType, Rule, RuleKey, Service, ServiceId, Settings, Slot, Source, SourceKey, Stamp,
    Waypoint, WaypointId,
};
use kmesh_lite_ebpf::{Lookup, Rules, Seats, Sources, authorize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Tables in memory, which can also be looked up in as the programs do.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    room: Limits,
    pub settings: Settings,
    pub tables: Each<InMemory>,
    pub endpoints: BTreeMap<u32, Endpoint>,
    pub callers: BTreeMap<u64, Caller>,
    /// The caller, in lookups.
    pub caller: Cell<Option<Caller>>,
    /// The client, in lookups, whatever it is told apart by.
    pub client: Cell<u64>,
    /// The cgroups of the client from the root on, in lookups.
    pub cgroups: RefCell<Vec<u64>>,
    /// The user of the client, in lookups.
    pub user: Cell<u32>,
    pub group: Cell<u32>,
    /// What clients keep, with the moment of their last connect in milliseconds.
    pub held: RefCell<BTreeMap<ClientKey, (u64, Held)>>,
    /// Now, in milliseconds.
    pub now: Cell<u64>,
    /// Connections that lookups have counted.
    pub open: RefCell<OpenConnections>,
    /// Who answers questions to DNS servers, if anybody, and whether that one does at the moment.
    pub nameserver: Option<Nameserver>,
    pub answers_instead: Cell<bool>,
    /// State of the generator behind [`Lookup::random`].
    pub random: Cell<u64>,
}

/// The shape of [`Memory`].
#[derive(Clone, Copy, Debug)]
pub struct InMemory;

impl Shape for InMemory {
    type Of<T: Declared> = MemoryTable<T::Row, T::Key, T::Id>;
}

/// One table in memory.
#[derive(Clone, Debug)]
pub struct MemoryTable<R, K, I> {
    /// Slots by index; an absent one is empty.
    pub slots: BTreeMap<u32, Slot<R>>,
    /// Ids by key, where programs search by key.
    pub ids: BTreeMap<K, I>,
}

impl<R, K, I> Default for MemoryTable<R, K, I> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }
}

impl Memory {
    /// Empty tables with this room.
    pub fn new(room: Limits) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    fn row<'a, T: RowType>(&self, slots: &'a BTreeMap<u32, Slot<T>>, index: u32) -> Option<&'a T> {
        // SAFETY: borrowed for as long as the answer.
        unsafe { Slot::read(slots.get(&index)?, self.settings.generation) }
    }

    fn free(&mut self, table: Table, index: u32) {
        on_table!(table, T => {
            T::part_mut(&mut self.tables).slots.remove(&index);
        }, else ());
    }

    fn drop_key(&mut self, key: &Key) {
        on_key!(key, T(key) => {
            T::part_mut(&mut self.tables).ids.remove(key);
        });
    }

    /// Slots and keys of a table, however much they count.
    pub fn counts(&self, table: Table) -> (usize, usize) {
        on_table!(table, T => {
            let table = T::part(&self.tables);
            (table.slots.len(), table.ids.len())
        }, else (self.endpoints.len(), 0))
    }

    fn rows(&self, first: u32, length: u32) -> Option<Vec<Endpoint>> {
        let end = first.checked_add(length)?;
        let rows: Vec<_> = self
            .endpoints
            .range(first..end)
            .map(|(_, row)| *row)
            .collect();
        (rows.len() == length as usize).then_some(rows)
    }
}

/// Which version of a slot counts at `generation`.
fn newest<R: RowType>(slot: &Slot<R>, generation: u64) -> Option<usize> {
    Slot::<R>::newest(slot.stamps, generation)
}

impl Maps for Memory {
    fn capacity(&self, table: Table) -> u32 {
        table.rows(&self.room)
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        let contents = Contents {
            settings: self.settings,
            slots: each!(T => {
                let table = T::part(&self.tables);
                let slots = table.slots.iter().map(|(index, slot)| (*index, *slot));
                let ids = table.ids.iter().map(|(key, id)| (*key, T::index(*id) + 1));
                TableContents {
                    slots: slots.collect(),
                    keys: ids.collect(),
                }
            }),
            callers: self.callers.clone(),
        };
        Ok(assemble(contents, |first, length| self.rows(first, length)))
    }

    fn read_some(&mut self, selection: &Selection) -> Result<Actual, MapsError> {
        let contents = Contents {
            settings: self.settings,
            slots: each!(T => {
                let table = T::part(&self.tables);
                let places = T::part(&selection.slots).iter();
                let slots = places.filter_map(|index| Some((*index, *table.slots.get(index)?)));
                let keys = T::part(&selection.keys).iter();
                let ids = keys.filter_map(|key| Some((*key, T::index(*table.ids.get(key)?) + 1)));
                TableContents {
                    slots: slots.collect(),
                    keys: ids.collect(),
                }
            }),
            callers: self.callers.clone(),
        };
        Ok(assemble_some(contents, |first, length| {
            self.rows(first, length)
        }))
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        match op {
            Op::Put(row) | Op::Retire(row) => on_row!(row, T(id, row) => {
                let row: &<T as Noun>::Row = row;
                let table = T::part_mut(&mut self.tables);
                let slot = table.slots.entry(T::index(*id)).or_insert(Slot {
                    stamps: [Stamp::NEVER; 2],
                    rows: [*row; 2],
                });
                let newest = newest(slot, generation - 1);
                let spare = newest.map_or(0, |counts| 1 - counts);
                let live = matches!(op, Op::Put(_));
                slot.rows[spare] = *row;
                slot.stamps[spare] = Stamp::new(generation, live);
                if live && T::KEYS.is_some() {
                    table.ids.insert(T::key(row), *id);
                }
            }),
            Op::PutRange(first, rows) => {
                self.endpoints.extend((*first..).zip(rows.iter().copied()));
            }
            // Nobody connects through these tables.
            Op::Count(_) => {}
            Op::Commit => self.settings.generation = generation,
            Op::Free(row) => {
                self.drop_key(&row.key());
                self.free(row.table(), row.index());
            }
            Op::FreeSlot(table, index) => self.free(*table, *index),
            Op::Scrub(table, index) => on_table!(table, T => {
                let slots = &mut T::part_mut(&mut self.tables).slots;
                let stamps = slots.get_mut(index).into_iter().flat_map(|slot| &mut slot.stamps);
                for stamp in stamps.filter(|stamp| stamp.generation() >= generation) {
                    *stamp = Stamp::NEVER;
                }
            }, else ()),
            Op::DropKey(key) => self.drop_key(key),
            Op::PutCaller(cgroup, caller) => drop(self.callers.insert(*cgroup, *caller)),
            Op::CallerLevels(levels) => self.settings.caller_levels = *levels,
            Op::Accounting(on) => self.settings.accounting = u32::from(*on),
            Op::DropCaller(cgroup) => drop(self.callers.remove(cgroup)),
        }
        Ok(())
    }
}

/// Counts another one, if it fits.
fn take(count: &mut u32, limit: u32) -> bool {
    let fits = limit == 0 || *count < limit;
    *count += u32::from(fits);
    fits
}

impl Seats for Memory {
    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.row(&self.tables.services.slots, id.index())
    }

    fn endpoint(&self, index: u32) -> Option<&Endpoint> {
        self.endpoints.get(&index)
    }

    fn open(&self, id: EndpointId) -> u32 {
        self.open.borrow().endpoint(id)
    }

    fn take(&self, id: EndpointId, limit: u32) -> bool {
        take(
            self.open.borrow_mut().endpoints.entry(id).or_default(),
            limit,
        )
    }

    fn held(&self, key: &ClientKey, affinity: u32) -> Option<Held> {
        let (moment, held) = *self.held.borrow().get(key)?;
        (self.now.get() - moment <= u64::from(affinity)).then_some(held)
    }

    fn hold(&self, key: &ClientKey, held: Held) {
        let row = (self.now.get(), held);
        self.held.borrow_mut().insert(*key, row);
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

impl Rules for Memory {
    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.row(&self.tables.guards.slots, id.index())
    }

    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        let table = &self.tables.rules;
        self.row(&table.slots, table.ids.get(key)?.index())
    }

    fn cgroup(&self, level: u32) -> u64 {
        let cgroups = self.cgroups.borrow();
        cgroups.get(level as usize).copied().unwrap_or(0)
    }

    fn user(&self) -> u32 {
        self.user.get()
    }

    fn group(&self) -> u32 {
        self.group.get()
    }
}

impl Sources for Memory {
    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        let table = &self.tables.destinations;
        self.row(&table.slots, table.ids.get(key)?.index())
    }

    fn guard(&self, id: GuardId) -> Option<&Guard> {
        Rules::guard(self, id)
    }

    fn source(&self, key: &SourceKey) -> Option<(u32, Option<&Source>)> {
        let table = &self.tables.sources;
        let found = longest(table.ids.keys(), key)?;
        let source = table.ids.get(found);
        let row = source.and_then(|id| self.row(&table.slots, id.index()));
        Some((found.bits, row))
    }
}

impl Lookup for Memory {
    fn authorize(&self, guard: GuardId) -> Judgement {
        authorize(self, guard)
    }

    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        Sources::destination(self, key)
    }

    fn address(&self, address: &Address) -> Option<&AddressRow> {
        let table = &self.tables.addresses;
        self.row(&table.slots, table.ids.get(address)?.index())
    }

    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend> {
        let table = &self.tables.frontends;
        self.row(&table.slots, table.ids.get(key)?.index())
    }

    fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.row(&self.tables.backends.slots, id.index())
    }

    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint> {
        self.row(&self.tables.waypoints.slots, id.index())
    }

    fn leave(&self, endpoint: Option<EndpointId>, service: Option<ServiceId>) {
        let open = &mut *self.open.borrow_mut();
        if let Some(id) = endpoint {
            *open.endpoints.entry(id).or_default() -= 1;
        }
        if let Some(id) = service {
            *open.services.entry(id).or_default() -= 1;
        }
    }

    fn take_service(&self, id: ServiceId, limit: u32) -> bool {
        take(
            self.open.borrow_mut().services.entry(id).or_default(),
            limit,
        )
    }

    /// No time passes here.
    fn is_due(&self, _: ServiceId, _: u32) -> bool {
        true
    }

    fn is_client_due(&self, _: ServiceId) -> bool {
        true
    }

    fn client(&self, _: ClientsBy) -> u64 {
        self.client.get()
    }

    fn caller(&self) -> Caller {
        self.caller.get().unwrap_or(Caller::Ordinary)
    }

    fn nameserver(&self) -> Option<&Nameserver> {
        self.nameserver.as_ref()
    }

    fn answers_instead(&self, _: Address, _: Port, _: Protocol) -> bool {
        self.answers_instead.get()
    }
}
