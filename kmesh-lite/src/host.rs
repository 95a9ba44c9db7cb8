//! This host: its addresses, its cgroups and units, and what this process may do on it.
//!
//! Out: facts, and a call whenever a cgroup that somebody named has come or gone. Nothing here knows
//! the kernel's tables.

mod addresses;
mod capability;
mod cgroup;
mod clock;
mod facts;
mod namespaces;
mod process;
mod routes;
mod this_host;
mod unit_files;
mod units;
mod user;

pub use capability::{FOR_SERVER_FIRST, MissingCapabilities, NEEDED, check, missing};
pub use cgroup::{CgroupError, Cgroups, Lineage, has_units, lock_holder, mounts};
pub use clock::monotonic;
pub use facts::{Sight, facts, look};
pub use process::Usage;
pub use this_host::{look_again, this_host};
pub use unit_files::names as unit_files;
pub use units::{Change, Looked, Units, WatchError};
pub use user::{agent_ids, agent_user};
