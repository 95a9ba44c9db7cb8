//! The kernel's tables as values: what one generation shows.
//!
//! In: the mesh, run-time facts and the actual tables. Out: the desired tables, which keep every id
//! that still names the same thing. Pure; the order of nothing matters.

mod alias;
mod auto;
mod build;
mod check;
mod ids;
mod ranges;
mod replay;

pub use build::{BuildError, build, callers};
pub use check::{Dangling, check};
pub use replay::{LookedUp, replay};

use crate::model::Limits;
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, BackendId, Caller, Endpoint, Frontend, FrontendId,
    FrontendKey, Service, ServiceId, Waypoint, WaypointId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Every row that counts. Ordered by id, so that plans and dumps are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub waypoints: BTreeMap<WaypointId, Waypoint>,
    pub backends: BTreeMap<BackendId, Backend>,
    /// Ranges that a service refers to, by the index of their first row.
    pub endpoints: BTreeMap<u32, Vec<Endpoint>>,
    pub services: BTreeMap<ServiceId, Service>,
    pub frontends: BTreeMap<FrontendId, Frontend>,
    pub addresses: BTreeMap<AddressId, AddressRow>,
    /// By cgroup id.
    pub callers: BTreeMap<u64, Caller>,
    /// Bit n: some caller is n levels below the root.
    pub caller_levels: u32,
}

/// What the kernel holds: the tables that count, and what an interrupted pass or somebody else left
/// beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    pub generation: u64,
    pub tables: Tables,
    pub leftovers: Leftovers,
}

/// Rows and keys that count for nothing and are in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Slots that hold something that does not count, by table and index.
    pub slots: BTreeSet<(Table, u32)>,
    /// Slots whose row counts, with a version for a generation that never came.
    pub versions: BTreeSet<(Table, u32)>,
    /// Keys of the address index without a row.
    pub addresses: BTreeSet<Address>,
    /// Keys of the frontend index without a row.
    pub frontends: BTreeSet<FrontendKey>,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.versions.is_empty()
            && self.addresses.is_empty()
            && self.frontends.is_empty()
    }
}

/// A table with a capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Waypoints,
    Backends,
    Endpoints,
    Services,
    Frontends,
    Addresses,
}

impl Table {
    pub const ALL: [Self; 6] = [
        Self::Waypoints,
        Self::Backends,
        Self::Endpoints,
        Self::Services,
        Self::Frontends,
        Self::Addresses,
    ];

    /// Its name, which is also its key under `[limits]`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waypoints => "waypoints",
            Self::Backends => "backends",
            Self::Endpoints => "endpoints",
            Self::Services => "services",
            Self::Frontends => "frontends",
            Self::Addresses => "addresses",
        }
    }

    /// The limit that holds for it.
    pub const fn limit(self, limits: &Limits) -> u32 {
        match self {
            Self::Waypoints => limits.waypoints,
            Self::Backends => limits.backends,
            Self::Endpoints => limits.endpoints,
            Self::Services => limits.services,
            Self::Frontends => limits.frontends,
            Self::Addresses => limits.addresses,
        }
    }

    /// How many rows the kernel's table has for a limit: twice as many, so that any mesh within the
    /// limits can be put beside any other before the first is taken away.
    pub const fn rows(self, limits: &Limits) -> u32 {
        self.limit(limits) * 2
    }

    /// The limit for which the kernel's table has this many rows.
    pub const fn limit_of(rows: u32) -> u32 {
        rows / 2
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Tables {
    /// Number of rows in `table`.
    pub fn rows(&self, table: Table) -> usize {
        match table {
            Table::Waypoints => self.waypoints.len(),
            Table::Backends => self.backends.len(),
            Table::Endpoints => self.endpoints.values().map(Vec::len).sum(),
            Table::Services => self.services.len(),
            Table::Frontends => self.frontends.len(),
            Table::Addresses => self.addresses.len(),
        }
    }
}
