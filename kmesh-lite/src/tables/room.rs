//! Whether a mesh fits into its own limits and ranges, which no kernel is needed to know.

use super::Tables;
use super::auto::{self, Vips};
use super::declared::{Declared, Noun, for_each_table};
use crate::model::{Family, Limits, Mesh, Name, Table};
use kmesh_lite_common::{Asked, Bucket, Connection, Endpoint, Flow, FlowKey, PLACES, Slot};
use std::fmt;

/// Something that a valid mesh needs more of than it says there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A table with fewer rows than the mesh needs.
    Rows { table: Table, need: u64, limit: u64 },
    /// Ranges with fewer addresses than services take of them.
    Vips {
        family: Family,
        need: usize,
        room: usize,
        /// The first service that gets none.
        service: Name,
    },
}

/// All that `mesh` has too little of: tables in the order in which rows are written, then ranges.
pub fn shortages(mesh: &Mesh) -> Vec<Shortage> {
    let (vips, exhausted) = auto::vips(mesh, &Tables::default());
    together(mesh, &vips, exhausted)
}

/// The same where automatic addresses have been given out. Those that were not count for no table.
pub(super) fn together(mesh: &Mesh, vips: &Vips, exhausted: Vec<Shortage>) -> Vec<Shortage> {
    let rows = needs(mesh, vips).into_iter().filter_map(|(table, need)| {
        let (need, limit) = (need as u64, u64::from(mesh.limits.of(table)));
        (need > limit).then_some(Shortage::Rows { table, need, limit })
    });
    rows.chain(exhausted).collect()
}

/// How many rows of each table `mesh` needs, in the order in which rows are written.
pub(super) fn needs(mesh: &Mesh, vips: &Vips) -> Vec<(Table, usize)> {
    let endpoints = mesh.services.values();
    let endpoints = endpoints.map(|service| service.endpoint_rows()).sum();
    let mut needs = vec![(Table::Endpoints, endpoints)];
    for_each_table!(T => { needs.push((T::TABLE, T::needed(mesh, vips))) });
    needs.sort();
    needs
}

/// Bytes of a slot of the connection table: the row, and a place in a bucket.
const SLOT: u64 = (size_of::<Connection>() + size_of::<Bucket>() / PLACES as usize) as u64;

/// What tables with this room take at least, in bytes: their rows, without keys and counters.
pub fn least_bytes(limits: &Limits) -> u64 {
    let rows = |table: Table, size: usize| u64::from(limits.of(table)) * 2 * size as u64;
    let mut bytes = rows(Table::Endpoints, size_of::<Endpoint>());
    for_each_table!(T => { bytes += rows(T::TABLE, size_of::<Slot<<T as Noun>::Row>>()) });
    let flow = size_of::<Flow>() + size_of::<Asked>() + 2 * size_of::<FlowKey>();
    bytes + u64::from(limits.connections) * 2 * SLOT + u64::from(limits.flows) * flow as u64
}

impl Shortage {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Rows { need, .. } if *need > u64::from(Limits::MAX) => format!(
                "no limit can be above {}: the mesh has to be smaller",
                Limits::MAX
            ),
            Self::Rows { table, need, .. } => {
                format!("raise `[limits] {table}` to at least {need}")
            }
            Self::Vips { family, .. } => {
                format!("add an {family} range to `vip_ranges` of `[mesh]`, or make one larger")
            }
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { table, need, limit } => write!(
                f,
                "table `{table}` is too small: the mesh needs {need} rows, the limit is {limit}"
            ),
            Self::Vips {
                family, need, room, ..
            } => write!(
                f,
                "`vip_ranges` is too small: `auto` needs {need} {family} addresses, the ranges have {room}"
            ),
        }
    }
}
