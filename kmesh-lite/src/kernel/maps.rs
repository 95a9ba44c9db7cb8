//! The real tables behind the port.
//!
//! In: operations of plans, and questions. Out: what the tables hold. What programs may still be looking at is
//! not written before a grace period.

mod counts;
mod nameserver;
mod reading;
mod settings;
mod writing;

pub use nameserver::Listening;

use super::address_bits::AddressBits;
use super::bpf::{self, io_error};
use super::clients::ClientTable;
use super::connections::{ConnectionTable, Gone, Living};
use super::counters::Counts;
use super::destroy::{self, Ended};
use super::fault;
use super::keys::Keys;
use super::open::OpenTable;
use super::rows::Rows;
use super::traffic::{Accounts, TrafficMaps};
use crate::health::Fates;
use crate::host::monotonic;
use crate::maps::{Maps, MapsError, Selection, TableContents, assemble, assemble_some};
use crate::model::{Limits, Table};
use crate::plan::Op;
use crate::tables::{
    Actual, Declared, Each, Remembered, Shape, Tables, Targets, each, for_each_table, on_table,
};
use aya::maps::{Array, HashMap, MapData, MapError};
use kmesh_lite_common::{
    Asker, Caller, ClientKey, Connection, DNS, Endpoint, EndpointId, Nameserver, ServiceId,
    Settings, Slot, Stage,
};
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
    /// Its one row.
    pub nameserver: Array<MapData, Nameserver>,
    pub askers: HashMap<MapData, u64, Asker>,
    pub outcomes: Counts,
    /// Connects by the counters of endpoints.
    pub endpoint_connects: Counts,
    pub readers: Readers,
    /// None where the kernel cannot have it.
    pub connections: Option<ConnectionTable>,
    /// None without that.
    pub open: Option<OpenTable>,
    /// None before it is known which map that is.
    pub clients: Option<ClientTable>,
    /// How many flows of datagrams are remembered.
    pub flows: u32,
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
    /// Where programs search by key.
    pub ids: Option<Keys<T::Key>>,
    pub connects: Option<Counts>,
    pub arrivals: Option<Counts>,
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
            self.flows,
        )
    }

    /// What is remembered of these clients.
    pub fn remembered(&self, keys: &[ClientKey]) -> io::Result<Remembered> {
        let mut remembered = Remembered::default();
        for key in keys {
            let row = self.clients.as_ref().map(|clients| clients.get(key));
            let Some(row) = row.transpose()?.flatten() else {
                continue;
            };
            remembered.clients.insert(*key, row);
            if let (Some(open), Some(endpoint)) = (&self.open, row.held.endpoint) {
                remembered.terms.insert(endpoint, open.term(endpoint)?);
            }
        }
        // No connect that was seen here is ahead of it.
        remembered.now = monotonic();
        Ok(remembered)
    }

    /// The connections in the connection table.
    pub fn living(&self) -> io::Result<Vec<Living>> {
        let listed = self.connections.as_ref().map(ConnectionTable::list);
        let mut listed = listed.transpose()?.unwrap_or_default();
        listed.retain(|it| !is_question(&it.connection));
        Ok(listed)
    }

    /// Ends every connection of these endpoints.
    pub fn end(&self, targets: &Targets) -> io::Result<Ended> {
        let ended = self
            .connections
            .as_ref()
            .map(|table| destroy::end(table, targets));
        Ok(ended.transpose()?.unwrap_or_default())
    }

    /// Ends the sockets with these cookies: connections of the table, and some that have arrived. Gives the cookies of
    /// those that it ended.
    pub fn end_sockets(
        &self,
        outbound: &BTreeSet<u64>,
        inbound: &BTreeSet<u64>,
    ) -> io::Result<BTreeSet<u64>> {
        destroy::end_sockets(self.connections.as_ref(), outbound, inbound)
    }

    /// What became of connects to endpoints.
    pub fn fates(&self) -> io::Result<BTreeMap<EndpointId, Fates>> {
        let read = self.traffic.as_ref().map(TrafficMaps::fates);
        Ok(read.transpose()?.unwrap_or_default())
    }

    /// What became of connections.
    pub fn accounts(&self) -> io::Result<Accounts> {
        let read = self.traffic.as_ref().map(TrafficMaps::read);
        Ok(read.transpose()?.unwrap_or_default())
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
                let id = table.ids.as_ref().map(|ids| ids.get(key)).transpose();
                let id = id.map_err(error("read", T::TABLE.as_str()))?;
                keys.extend(id.flatten().map(|id| (*key, id)));
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

fn error(operation: &'static str, table: &'static str) -> impl FnOnce(io::Error) -> MapsError {
    move |source| MapsError {
        operation,
        table,
        source,
    }
}

/// Whether a connection is a captured question to a DNS server, which is none of the mesh. It was chosen nothing for and is
/// not accounted. One of the mesh whose service, endpoint and backend are gone by now stands for nothing either, and
/// is accounted, unless nothing is.
fn is_question(connection: &Connection) -> bool {
    let is_chosen = connection.service.is_some()
        || connection.endpoint.is_some()
        || connection.backend.is_some()
        || connection.waypoint.is_some();
    !is_chosen && connection.port == DNS && !connection.stage.has(Stage::ACCOUNTED)
}
