//! The real tables behind the port.

use super::bpf::{self, io_error};
use super::fault;
use super::rows::Rows;
use crate::maps::{Contents, Maps, MapsError, assemble};
use crate::model::Limits;
use crate::plan::{Op, Row};
use crate::tables::{Actual, Table};
use aya::maps::{HashMap, MapData, MapError};
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, Caller, Endpoint, Frontend, FrontendId, FrontendKey,
    Range, Service, Settings, Slot, Waypoint,
};
use std::io;

/// All tables that plans write to.
pub struct KernelMaps {
    pub settings: Rows<Settings>,
    pub waypoints: Rows<Slot<Waypoint>>,
    pub backends: Rows<Slot<Backend>>,
    pub services: Rows<Slot<Service>>,
    pub frontends: Rows<Slot<Frontend>>,
    pub addresses: Rows<Slot<AddressRow>>,
    pub endpoints: Rows<Endpoint>,
    pub address_ids: HashMap<MapData, Address, AddressId>,
    pub frontend_ids: HashMap<MapData, FrontendKey, FrontendId>,
    pub callers: HashMap<MapData, u64, Caller>,
    pub counters: super::counters::CounterMaps,
    pub readers: Readers,
}

/// What programs that are still running may be looking at.
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
        }
        Ok(())
    }

    /// Waits now, so that the next plan need not wait before its first write.
    pub fn quiesce(&mut self) -> io::Result<()> {
        self.wait(Readers::MayHoldKeys)
    }

    /// Whether there are no generations left that a plan could use. A plan a nanosecond takes
    /// longer than anybody lives to get here, so somebody else wrote the number.
    pub fn is_worn_out(&self) -> Result<bool, MapsError> {
        const LAST: u64 = 1 << 62;
        let settings = self.settings.get(0).map_err(error("read", "settings"))?;
        Ok(settings.generation >= LAST)
    }

    /// Makes what is not part of any mesh as it is in `meant`; gives what was not.
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
        mended.map_err(error("write to", "settings"))?;
        Ok(wrong)
    }

    /// The limits that these tables were made for.
    pub fn limits(&self) -> Limits {
        let limit = |table| Table::limit_of(self.capacity(table));
        Limits {
            addresses: limit(Table::Addresses),
            frontends: limit(Table::Frontends),
            services: limit(Table::Services),
            endpoints: limit(Table::Endpoints),
            backends: limit(Table::Backends),
            waypoints: limit(Table::Waypoints),
        }
    }

    fn deleted_key(&mut self) {
        self.readers = self.readers.max(Readers::MayHoldKeys);
    }

    fn put(&mut self, row: &Row, generation: u64, live: bool) -> io::Result<()> {
        self.wait(Readers::MayHoldKeys)?;
        let index = row.index();
        match *row {
            Row::Waypoint(_, row) => self.waypoints.put(index, row, generation, live),
            Row::Backend(_, row) => self.backends.put(index, row, generation, live),
            Row::Service(_, row) => self.services.put(index, row, generation, live),
            Row::Frontend(id, row) => {
                self.frontends.put(index, row, generation, live)?;
                if live {
                    put_key(&mut self.frontend_ids, row.key, id, &mut self.readers)
                } else {
                    Ok(())
                }
            }
            Row::Address(id, row) => {
                self.addresses.put(index, row, generation, live)?;
                if live {
                    put_key(&mut self.address_ids, row.address, id, &mut self.readers)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn free(&mut self, table: Table, index: u32) -> io::Result<()> {
        self.wait(Readers::MayHoldRows)?;
        match table {
            Table::Waypoints => self.waypoints.free(index),
            Table::Backends => self
                .backends
                .free(index)
                .and_then(|()| self.counters.reset_backend(index)),
            Table::Services => self
                .services
                .free(index)
                .and_then(|()| self.counters.reset_service(index)),
            Table::Frontends => self.frontends.free(index),
            Table::Addresses => self.addresses.free(index),
            Table::Endpoints => Ok(()),
        }
    }

    /// Forgets versions that a plan before the one for `generation` did not get to commit.
    fn scrub(&mut self, table: Table, index: u32, generation: u64) -> io::Result<()> {
        let now = generation - 1;
        match table {
            Table::Waypoints => self.waypoints.scrub(index, now),
            Table::Backends => self.backends.scrub(index, now),
            Table::Services => self.services.scrub(index, now),
            Table::Frontends => self.frontends.scrub(index, now),
            Table::Addresses => self.addresses.scrub(index, now),
            Table::Endpoints => Ok(()),
        }
    }

    fn carry_out(&mut self, op: &Op, generation: u64) -> io::Result<()> {
        match op {
            Op::Put(row) => self.put(row, generation, true),
            Op::Retire(row) => self.put(row, generation, false),
            Op::PutRange(first, rows) => {
                self.wait(Readers::MayHoldRows)?;
                (*first..)
                    .zip(rows)
                    .try_for_each(|(index, row)| self.endpoints.set(index, *row))
            }
            Op::Commit => {
                // On processors that reorder loads, a program could see the new generation and old
                // rows. One that starts after a grace period cannot.
                bpf::grace_period()?;
                self.settings.set_generation(generation)?;
                self.readers = Readers::MayHoldRows;
                Ok(())
            }
            Op::Free(row) => {
                self.wait(Readers::MayHoldRows)?;
                match row {
                    Row::Frontend(_, row) => remove_key(&mut self.frontend_ids, &row.key)?,
                    Row::Address(_, row) => remove_key(&mut self.address_ids, &row.address)?,
                    _ => {}
                }
                self.deleted_key();
                self.free(row.table(), row.index())
            }
            Op::FreeSlot(table, index) => self.free(*table, *index),
            Op::Scrub(table, index) => self.scrub(*table, *index, generation),
            Op::DropAddress(address) => {
                self.deleted_key();
                remove_key(&mut self.address_ids, address)
            }
            Op::DropFrontend(key) => {
                self.deleted_key();
                remove_key(&mut self.frontend_ids, key)
            }
            Op::PutCaller(cgroup, caller) => {
                self.wait(Readers::MayHoldKeys)?;
                put_key(&mut self.callers, *cgroup, *caller, &mut self.readers)
            }
            Op::CallerLevels(levels) => self.settings.set_caller_levels(*levels),
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
        match table {
            Table::Waypoints => self.waypoints.count(),
            Table::Backends => self.backends.count(),
            Table::Endpoints => self.endpoints.count(),
            Table::Services => self.services.count(),
            Table::Frontends => self.frontends.count(),
            Table::Addresses => self.addresses.count(),
        }
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        let read = |table| error("read", table);
        let contents = Contents {
            settings: self.settings.get(0).map_err(read("settings"))?,
            waypoints: self.waypoints.used(),
            backends: self.backends.used(),
            services: self.services.used(),
            frontends: self.frontends.used(),
            addresses: self.addresses.used(),
            address_ids: keys(&self.address_ids).map_err(read("addresses"))?,
            frontend_ids: keys(&self.frontend_ids).map_err(read("frontends"))?,
            callers: self
                .callers
                .iter()
                .collect::<Result<_, _>>()
                .map_err(|error| read("callers")(io_error(error)))?,
        };
        let endpoints = &self.endpoints;
        Ok(assemble(contents, |range: Range| {
            let end = range.first.checked_add(range.count)?;
            (range.first..end)
                .map(|index| endpoints.get(index).ok())
                .collect()
        }))
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        self.carry_out(op, generation)
            .map_err(error("write to", op.table()))?;
        fault::point();
        Ok(())
    }
}

fn error(operation: &'static str, table: &'static str) -> impl FnOnce(io::Error) -> MapsError {
    move |source| MapsError {
        operation,
        table,
        source,
    }
}

fn keys<K: aya::Pod, I: aya::Pod>(map: &HashMap<MapData, K, I>) -> io::Result<Vec<(K, Option<I>)>> {
    map.iter()
        .map(|entry| entry.map(|(key, id)| (key, Some(id))).map_err(io_error))
        .collect()
}
