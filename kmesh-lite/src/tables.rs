//! The kernel's tables as values: what one generation shows.
//!
//! In: the mesh, facts and the actual tables. Out: the desired tables, which keep every id that still
//! names the same thing. Pure; the order of nothing matters.

mod address;
mod alias;
mod arrivals;
mod asker;
mod authorization;
mod auto;
mod backend;
mod build;
mod caller;
mod check;
mod counters;
mod declared;
mod departing;
mod destination;
mod endpoint;
mod fields;
mod frontend;
mod guard;
mod guarded;
mod id_map;
mod ids;
mod judge;
mod lockout;
mod maglev;
mod matched;
mod networks;
mod next;
mod picking;
mod remembered;
mod replay;
mod room;
mod rule;
mod service;
mod size;
mod source;

mod space;
mod spread;
mod taken;
mod waypoint;

pub use asker::{Askers, askers};
pub use auto::Vips;
pub use build::{BuildError, Built, build, build_anew};
pub use caller::callers;
pub use check::{Dangling, check, check_since};
pub use counters::{Connects, Counters, OpenConnections};
pub use declared::{
    Addresses, Authorizations, Backends, ById, Declared, Destinations, Each, Frontends, Guards,
    Key, Noun, Row, Rules, Services, Shape, Sources, Waypoints,
};
pub(crate) use declared::{each, for_each_table, on_key, on_row, on_table};
pub use departing::{Departing, Targets, departing};
pub use endpoint::{EndpointKey, Listed, length, own_ports, ranges, title};
pub use fields::{Field, Fields};
pub use guarded::{Guarded, GuardedRows, GuardedTargets, guarded_rows, policies as policies_at};
pub use id_map::IdMap;
pub use judge::{Arrived, Judge, arrived, judge_client, judge_guarded, judge_source, longest};
pub use lockout::{Lockout, Way, can_lock_out, lockouts, probes};
pub use matched::is_resolved;
pub use networks::Network;
pub use picking::words as picking_words;
pub use remembered::Remembered;
pub use replay::{LookedUp, Whose, replay};
pub use room::{Shortage, least_bytes, shortages};
pub use service::filled;
pub use size::{larger, room_for};
pub use spread::uses_all;
pub use taken::{Taken, changed_ranges, counters};

use crate::model::Table;
use imbl::OrdMap;
use kmesh_lite_common::{Caller, Endpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every row that counts. Tables that were made out of others share with them what they have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    pub rows: Each<ById>,
    /// Ranges that a service refers to, by the index of their first row.
    pub endpoints: OrdMap<u32, Arc<[Endpoint]>>,
    /// By cgroup id.
    pub callers: BTreeMap<u64, Caller>,
    /// Bit n: some caller is n levels below the root.
    pub caller_levels: u32,
    /// Whether connections are accounted.
    pub accounting: bool,
}

/// What the kernel holds: the tables that count, and leftovers of an interrupted pass or of somebody
/// else beside them.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Keys that lead to no row.
    pub keys: BTreeSet<Key>,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.versions.is_empty() && self.keys.is_empty()
    }
}

impl Tables {
    /// Whether policies say the same of every connection.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let (one, other) = (&self.rows, &other.rows);
        let services = one.services.differing(&other.services).into_iter();
        let mut services = services.map(|id| {
            let guard = |rows: &Each<ById>| rows.services.get(&id).and_then(|row| row.guard);
            (guard(one), guard(other))
        });
        one.authorizations == other.authorizations
            && one.guards == other.guards
            && one.rules == other.rules
            && one.destinations == other.destinations
            && one.sources == other.sources
            && services.all(|(one, other)| one == other)
    }

    /// Number of rows in `table`.
    pub fn count(&self, table: Table) -> usize {
        let ranges = || self.endpoints.values().map(|rows| rows.len()).sum();
        on_table!(table, T => T::part(&self.rows).len(), else ranges())
    }

    /// The name of the row at `index` of `table`, if one is there.
    pub fn name(&self, table: Table, index: u32) -> Option<String> {
        on_table!(table, T => {
            let row = T::part(&self.rows).get(&T::id(index)?)?;
            Some(T::name(&T::key(row)))
        }, else None)
    }
}
