//! What is true of this host at the moment, as far as the tables depend on it.

use super::Caller;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Run-time input of the desired tables, beside the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Addresses of this host's interfaces. A service may take one over: undeclared ports pass.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Cgroups whose processes are not ordinary callers, by cgroup id.
    pub callers: BTreeMap<u64, CallerFact>,
}

/// One cgroup that is treated specially.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerFact {
    /// Depth below the cgroup v2 root, which is 0; `None` where a namespace hides it.
    pub level: Option<u32>,
    pub caller: Caller,
}
