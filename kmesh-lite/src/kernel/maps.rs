//! The real tables behind the port.

use super::address_bits::AddressBits;
use super::bpf::{self, io_error};
use super::connections::{ConnectionTable, Gone, Living};
use super::counters::{self, Counts};
use super::fault;
use super::open::OpenTable;
use super::rows::Rows;
use super::traffic::{Accounts, TrafficMaps};
use crate::maps::{
    Contents, Maps, MapsError, Read, Selection, TableContents, assemble, assemble_some,
};
use crate::model::{Limits, Table};
use crate::plan::Op;
use crate::tables::{
    Actual, Counters, Declared, Each, IdMap, Key, Noun, Row, Shape, Tables, each, for_each_table,
    on_key, on_row, on_table,
};
use aya::maps::{HashMap, MapData, MapError};
use kmesh_lite_common::{Caller, Connection, Endpoint, Interest, ServiceId, Settings, Slot, Stage};
use kmesh_lite_ebpf::Outcome;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// All tables that plans write to.
pub struct KernelMaps {
    pub settings: Rows<Settings>,
    pub tables: Each<Mapped>,
    pub endpoints: Rows<Endpoint>,
    pub address_bits: AddressBits,
    pub backend_bits: AddressBits,
    pub callers: HashMap<MapData, u64, Caller>,
    pub outcomes: Counts,
    /// Connects by the counters of endpoints.
    pub endpoint_connects: Counts,
    pub readers: Readers,
    /// None where the kernel cannot have it.
    pub connections: Option<ConnectionTable>,
    /// None without that.
    pub open: Option<OpenTable>,
    /// None of maps that are only looked at.
    pub traffic: Option<TrafficMaps>,
    /// What connections are to forget when the plan is over.
    pub gone: Gone,
}

/// The shape of [`KernelMaps`].
pub struct Mapped;

impl Shape for Mapped {
    type Of<T: Declared> = MappedTable<T>;
}

/// The maps of one table.
pub struct MappedTable<T: Declared> {
    pub rows: Rows<Slot<T::Row>>,
    /// Where programs search by key. Ids are numbers from 1.
    pub ids: Option<HashMap<MapData, T::Key, u32>>,
    pub connects: Option<Counts>,
}

/// Programs that are still running may be looking at these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readers {
    /// Nothing that we may not write.
    Gone,
    /// Keys that were deleted since the last grace period: their memory must not get a new key.
    MayHoldKeys,
    /// Versions that no longer count, and the keys.
    MayHoldRows,
}

impl KernelMaps {
    /// Waits until no program can be looking at anything that `readers` covers.
    fn wait(&mut self, readers: Readers) -> io::Result<()> {
        if self.readers >= readers {
            bpf::grace_period()?;
            self.readers = Readers::Gone;
            // Before the first write of the next plan, which may hand ids out again.
            let gone = std::mem::take(&mut self.gone);
            self.forget(&gone)?;
        }
        Ok(())
    }

    /// Waits now, so that the next plan need not wait before its first write.
    pub fn quiesce(&mut self) -> io::Result<()> {
        self.wait(Readers::MayHoldKeys)?;
        let slots = &self.tables.addresses.rows;
        self.address_bits.keep_only(|| {
            let used = slots.used()?.into_iter();
            let rows = used.flat_map(|(_, slot)| slot.rows);
            Ok(rows.map(|row| row.address).collect())
        })
    }

    /// Forgets what was counted at addresses of backends that are gone. All backends may be read for it, so not after
    /// each change.
    pub fn forget_backends(&mut self) -> io::Result<()> {
        let backends = &self.tables.backends.rows;
        self.backend_bits.keep_only(|| {
            let used = backends.used()?.into_iter();
            let rows = used.flat_map(|(_, slot)| slot.rows);
            Ok(rows.map(|row| row.address).collect())
        })?;
        match &mut self.traffic {
            Some(traffic) => traffic.keep_arrivals(|local| self.backend_bits.has(local)),
            None => Ok(()),
        }
    }

    /// Lets go of the mappings: until tables are looked at again, they are no memory of this process.
    pub fn release(&mut self) {
        for_each_table!(T => { T::part_mut(&mut self.tables).rows.release() });
        self.endpoints.release();
        self.address_bits.release();
        self.backend_bits.release();
    }

    fn forget(&mut self, gone: &Gone) -> io::Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        if let Some(connections) = &self.connections {
            connections.forget(gone)?;
        }
        if let Some(open) = &mut self.open {
            open.disown(gone)?;
        }
        // A program may be adding up a connection that it looked at before, or counting it no more.
        bpf::grace_period()?;
        if let Some(open) = &mut self.open {
            open.reset(gone)?;
        }
        match &mut self.traffic {
            Some(traffic) => traffic.forget(gone),
            None => Ok(()),
        }
    }

    /// Whether there are no generations left that a plan could use. A plan a nanosecond takes
    /// longer than anybody lives to get here, so somebody else wrote the number.
    pub fn is_worn_out(&self) -> Result<bool, MapsError> {
        const LAST: u64 = 1 << 62;
        let settings = self.settings.get(0).map_err(error("read", "settings"))?;
        Ok(settings.generation >= LAST)
    }

    /// Makes the settings that belong to no mesh equal to `meant`; gives what was wrong.
    pub fn mend_settings(&mut self, meant: Settings) -> Result<Vec<&'static str>, MapsError> {
        let there = self.settings.get(0).map_err(error("read", "settings"))?;
        let mut wrong = Vec::new();
        let mut mended = Ok(());
        if there.label != meant.label {
            wrong.push("what these tables are");
            mended = mended.and_then(|()| self.settings.set_label(meant.label));
        }
        if there.daemon != meant.daemon {
            wrong.push("the process whose connects are left alone");
            mended = mended.and_then(|()| self.settings.set_daemon(meant.daemon));
        }
        if there.interest != meant.interest {
            wrong.push("which moments of connections are told");
            mended = mended.and_then(|()| self.settings.set_interest(meant.interest));
        }
        mended.map_err(error("write to", "settings"))?;
        Ok(wrong)
    }

    /// Which moments of connections are told.
    pub fn interest(&self) -> Result<Interest, MapsError> {
        let there = self.settings.get(0).map_err(error("read", "settings"))?;
        Ok(there.interest)
    }

    /// Sets which moments of connections are told. It counts at once, and belongs to no mesh.
    pub fn tell(&mut self, interest: Interest) -> Result<(), MapsError> {
        let set = self.settings.set_interest(interest);
        set.map_err(error("write to", "settings"))
    }

    /// Sets the bits of all addresses that have a key, at any time: no bit too many misleads anybody.
    /// Gives how many there were not.
    pub fn mend_address_bits(&mut self) -> Result<usize, MapsError> {
        let Some(ids) = &self.tables.addresses.ids else {
            return Ok(0);
        };
        let mut missing = 0;
        for key in ids.keys() {
            let key = key.map_err(|cause| error("read", "addresses")(io_error(cause)))?;
            if !self.address_bits.has(&key) {
                missing += 1;
                let set = self.address_bits.set(&key);
                set.map_err(error("write to", "addresses"))?;
            }
        }
        Ok(missing)
    }

    /// Counts the connections that are open to these services of `tables`, which begin to count: those that began
    /// before do not say so yet.
    pub fn adopt(&self, services: &BTreeSet<ServiceId>, tables: &Tables) -> io::Result<()> {
        let (Some(connections), Some(open)) = (&self.connections, &self.open) else {
            return Ok(());
        };
        // Who decided by the tables before has noted the connection.
        bpf::grace_period()?;
        let counted = |connection: &Connection| {
            let service = connection.service.filter(|id| services.contains(id));
            let Some(row) = service.and_then(|id| tables.rows.services.get(&id)) else {
                return Stage::default();
            };
            let backend = connection
                .backend
                .and_then(|id| tables.rows.backends.get(&id));
            let behind = backend.is_some_and(|backend| backend.waypoint.is_some());
            // What a waypoint passes on is counted of the client.
            let passed_on = |by_waypoint: bool| by_waypoint && connection.waypoint.is_none();
            let mut stage = Stage::default();
            if connection.endpoint.is_some() && !passed_on(behind) {
                stage = stage.with(Stage::AT_ENDPOINT);
            }
            if !passed_on(row.waypoint.is_some()) {
                stage = stage.with(Stage::AT_SERVICE);
            }
            stage
        };
        let counting = open.counting()?;
        connections.adopt(counted, |connection, stage, one_more| {
            counting.count(connection, stage, one_more)
        })
    }

    /// The room in these tables.
    pub fn room(&self) -> Limits {
        let connections = self.connections.as_ref();
        Limits::each(
            |table| Table::room_of(self.capacity(table)),
            connections.map_or(0, ConnectionTable::limit),
        )
    }

    /// The connections in the connection table.
    pub fn living(&self) -> io::Result<Vec<Living>> {
        let listed = self.connections.as_ref().map(ConnectionTable::list);
        Ok(listed.transpose()?.unwrap_or_default())
    }

    /// What became of connections.
    pub fn accounts(&self) -> io::Result<Accounts> {
        let read = self.traffic.as_ref().map(TrafficMaps::read);
        Ok(read.transpose()?.unwrap_or_default())
    }

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

    /// Hands over what is known by ids to the maps that replace these, before any program reads those: counts, and
    /// what connections are to forget. `tables` are those before and after.
    pub fn hand_over(&mut self, to: &mut Self, tables: [&Tables; 2]) -> Result<(), MapsError> {
        let [before, after] = tables;
        self.wait(Readers::MayHoldKeys)
            .map_err(error("write to", "connections"))?;
        self.copy_counters(to, tables)?;
        let (old, new) = (before.endpoint_ids(), after.endpoint_ids());
        let handed_out = new.difference(&old).map(|id| id.index() + 1);
        to.forget(&Gone {
            endpoints: handed_out.collect(),
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
            let from = &T::part(&self.tables).connects;
            let to = &mut T::part_mut(&mut to.tables).connects;
            if let (Some(from), Some(to)) = (from, to) {
                let ids = T::part(&after.rows).keys().map(|id| T::index(*id));
                counters::copy(from, to, ids).map_err(error("copy", "counters"))?;
            }
        });
        // A number that is handed out again has not been set to zero here.
        let (before, after) = (before.endpoint_ids(), after.endpoint_ids());
        let indexes = before.intersection(&after).map(|id| id.index());
        counters::copy(&self.endpoint_connects, &mut to.endpoint_connects, indexes)
            .map_err(error("copy", "counters"))
    }

    /// These slots, with settings and callers.
    fn contents(&self, slots: Each<Read>) -> Result<Contents, MapsError> {
        Ok(Contents {
            settings: self.settings.get(0).map_err(error("read", "settings"))?,
            slots,
            callers: self
                .callers
                .iter()
                .collect::<Result<_, _>>()
                .map_err(|cause| error("read", "callers")(io_error(cause)))?,
        })
    }

    /// Rows of the endpoint table; none if there are not so many.
    fn range(&self, first: u32, length: u32) -> io::Result<Option<Vec<Endpoint>>> {
        let end = first.checked_add(length);
        let Some(end) = end.filter(|end| *end <= self.endpoints.count()) else {
            return Ok(None);
        };
        let rows = (first..end).map(|index| self.endpoints.get(index));
        rows.collect::<io::Result<_>>().map(Some)
    }

    /// What `assembled` makes of ranges, unless one cannot be read.
    fn with_ranges(
        &self,
        assembled: impl FnOnce(&dyn Fn(u32, u32) -> Option<Vec<Endpoint>>) -> Actual,
    ) -> Result<Actual, MapsError> {
        let failure = Cell::new(None);
        let actual = assembled(&|first, length| {
            let range = self.range(first, length);
            range.map_err(|cause| failure.set(Some(cause))).ok()?
        });
        match failure.take() {
            None => Ok(actual),
            Some(cause) => Err(error("read", Table::Endpoints.as_str())(cause)),
        }
    }

    fn deleted_key(&mut self) {
        self.readers = self.readers.max(Readers::MayHoldKeys);
    }

    fn free(&mut self, table: Table, index: u32) -> io::Result<()> {
        self.wait(Readers::MayHoldRows)?;
        if table == Table::Backends {
            self.backend_bits.lost();
        }
        on_table!(table, T => {
            let table = T::part_mut(&mut self.tables);
            table.rows.free(index)?;
            match &mut table.connects {
                Some(connects) => counters::reset(connects, index),
                None => Ok(()),
            }
        }, else Ok(()))
    }

    fn drop_key(&mut self, key: &Key) -> io::Result<()> {
        self.deleted_key();
        if let Key::Address(_) = key {
            self.address_bits.lost();
        }
        on_key!(key, T(key) => match &mut T::part_mut(&mut self.tables).ids {
            Some(ids) => remove_key(ids, key),
            None => Ok(()),
        })
    }

    fn carry_out(&mut self, op: &Op, generation: u64) -> io::Result<()> {
        match op {
            Op::Put(row) | Op::Retire(row) => {
                self.wait(Readers::MayHoldKeys)?;
                let live = matches!(op, Op::Put(_));
                match row {
                    Row::Address(_, row) => self.address_bits.set(&row.address)?,
                    Row::Backend(_, row) => self.backend_bits.set(&row.address)?,
                    _ => {}
                }
                on_row!(row, T(id, row) => {
                    let row: &<T as Noun>::Row = row;
                    let table = T::part_mut(&mut self.tables);
                    let index = T::index(*id);
                    table.rows.put(index, *row, generation, live)?;
                    match &mut table.ids {
                        Some(ids) if live => {
                            put_key(ids, T::key(row), index + 1, &mut self.readers)
                        }
                        _ => Ok(()),
                    }
                })
            }
            Op::PutRange(first, rows) => {
                self.wait(Readers::MayHoldRows)?;
                (*first..)
                    .zip(rows.iter())
                    .try_for_each(|(index, row)| self.endpoints.set(index, *row))
            }
            // A program that chose by the rows before may add one more to a number that was handed out
            // again, which a counter of connects can bear.
            Op::Count(ids) => {
                self.forget(&Gone {
                    endpoints: ids.iter().map(|id| id.index() + 1).collect(),
                    ..Gone::default()
                })?;
                ids.iter()
                    .try_for_each(|id| counters::reset(&mut self.endpoint_connects, id.index()))
            }
            Op::Commit => {
                // Where processors reorder loads, a program could see the new generation and old rows. One that
                // starts after a grace period cannot. On x86, whoever sees a store sees all that were
                // made before it, and programs read the generation before any row.
                if !cfg!(target_arch = "x86_64") {
                    bpf::grace_period()?;
                }
                self.settings.set_generation(generation)?;
                self.readers = Readers::MayHoldRows;
                Ok(())
            }
            Op::Free(row) => {
                self.wait(Readers::MayHoldRows)?;
                self.drop_key(&row.key())?;
                let id = row.index() + 1;
                let gone = match row {
                    Row::Service(..) => Some(&mut self.gone.services),
                    Row::Backend(..) => Some(&mut self.gone.backends),
                    Row::Waypoint(..) => Some(&mut self.gone.waypoints),
                    // No connection refers to them.
                    Row::Frontend(..) | Row::Address(..) => None,
                };
                if let Some(gone) = gone {
                    gone.insert(id);
                }
                self.free(row.table(), row.index())
            }
            Op::FreeSlot(table, index) => self.free(*table, *index),
            Op::Scrub(table, index) => {
                // The plan before the one for `generation` did not get to its commit.
                on_table!(table, T => {
                    let table = T::part_mut(&mut self.tables);
                    table.rows.scrub(*index, generation - 1)
                }, else Ok(()))
            }
            Op::DropKey(key) => self.drop_key(key),
            Op::PutCaller(cgroup, caller) => {
                self.wait(Readers::MayHoldKeys)?;
                put_key(&mut self.callers, *cgroup, *caller, &mut self.readers)
            }
            Op::CallerLevels(levels) => self.settings.set_caller_levels(*levels),
            Op::Accounting(on) => self.settings.set_accounting(*on),
            Op::DropCaller(cgroup) => {
                self.deleted_key();
                remove_key(&mut self.callers, cgroup)
            }
        }
    }
}

/// Replacing the value of a key frees the element that held the old one, like deleting it.
fn put_key<K: aya::Pod, V: aya::Pod + PartialEq>(
    map: &mut HashMap<MapData, K, V>,
    key: K,
    value: V,
    readers: &mut Readers,
) -> io::Result<()> {
    match map.get(&key, 0) {
        Ok(there) if there == value => return Ok(()),
        Ok(_) => *readers = (*readers).max(Readers::MayHoldKeys),
        Err(_) => {}
    }
    map.insert(key, value, 0).map_err(io_error)
}

fn remove_key<K: aya::Pod, V: aya::Pod>(
    map: &mut HashMap<MapData, K, V>,
    key: &K,
) -> io::Result<()> {
    match map.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) => match io_error(error) {
            absent if absent.kind() == io::ErrorKind::NotFound => Ok(()),
            error => Err(error),
        },
    }
}

impl Maps for KernelMaps {
    fn capacity(&self, table: Table) -> u32 {
        on_table!(table, T => T::part(&self.tables).rows.count(), else self.endpoints.count())
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        let slots = each!(T => {
            let table = T::part(&self.tables);
            let keys = table.ids.as_ref().map(|ids| ids.iter().collect());
            let keys: Result<Vec<_>, MapError> = keys.unwrap_or_else(|| Ok(Vec::new()));
            TableContents {
                slots: table.rows.used().map_err(error("read", T::TABLE.as_str()))?,
                keys: keys.map_err(|cause| error("read", T::TABLE.as_str())(io_error(cause)))?,
            }
        });
        let contents = self.contents(slots)?;
        self.with_ranges(|range| assemble(contents, range))
    }

    fn read_some(&mut self, selection: &Selection) -> Result<Actual, MapsError> {
        let slots = each!(T => {
            let table = T::part(&self.tables);
            let mut slots = Vec::new();
            for index in T::part(&selection.slots) {
                let used = table.rows.used_at(*index);
                let used = used.map_err(error("read", T::TABLE.as_str()))?;
                slots.extend(used.map(|slot| (*index, slot)));
            }
            let mut keys = Vec::new();
            for key in T::part(&selection.keys) {
                match table.ids.as_ref().map(|ids| ids.get(key, 0)) {
                    Some(Ok(id)) => keys.push((*key, id)),
                    Some(Err(MapError::KeyNotFound)) | None => {}
                    Some(Err(cause)) => {
                        return Err(error("read", T::TABLE.as_str())(io_error(cause)));
                    }
                }
            }
            TableContents {
                slots,
                keys,
            }
        });
        let contents = self.contents(slots)?;
        self.with_ranges(|range| assemble_some(contents, range))
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        self.carry_out(op, generation)
            .map_err(error("write to", op.table()))?;
        fault::point();
        Ok(())
    }
}

/// Ids of rows that one has and the other has not, as numbers from 1.
fn gone<T: Declared>(before: &IdMap<T>, after: &IdMap<T>) -> BTreeSet<u32> {
    let ids = before.keys().filter(|id| !after.contains_key(id));
    ids.map(|id| T::index(*id) + 1).collect()
}

fn error(operation: &'static str, table: &'static str) -> impl FnOnce(io::Error) -> MapsError {
    move |source| MapsError {
        operation,
        table,
        source,
    }
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
