//! Facts: true of this host at the moment, and the desired tables depend on them.

use super::CgroupRef;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// Run-time input of a pass, beside the mesh. Facts are gathered once a pass, in `host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Addresses of this host's interfaces. A service may take one over: undeclared ports pass.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Cgroups by the names that the mesh has for them. A unit may have none, or several.
    pub cgroups: BTreeMap<CgroupRef, Vec<Cgroup>>,
}

/// A cgroup of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Below the mount of cgroup v2, beginning with `/`.
    pub path: PathBuf,
    /// The number of the cgroup in the kernel, which is the inode of its folder.
    pub id: u64,
    /// Depth below the root, which is 0; `None` where a namespace hides it.
    pub level: Option<u32>,
}

impl Facts {
    /// The cgroups that `reference` names at the moment.
    pub fn cgroups(&self, reference: &CgroupRef) -> &[Cgroup] {
        self.cgroups.get(reference).map_or(&[], Vec::as_slice)
    }
}
