//! Connections that stand, and whom policies take their clients for.

use crate::host::Lineage;
use crate::kernel::{Accepted, Living, Made};
use crate::model::Caller;
use crate::tables::{Tables, Whose};
use std::collections::{BTreeMap, BTreeSet};

/// What there is at the moment.
#[derive(Debug, Default)]
pub struct LiveConnections {
    /// Those that programs of this host made to services: rows of the connection table.
    pub listed: Vec<Living>,
    /// Those that programs of this host made, in the daemon's network namespace: also those of `listed`, at the address
    /// where they ended up.
    pub made: Vec<Made>,
    /// Those that have arrived in the daemon's network namespace.
    pub accepted: Vec<Accepted>,
    /// Where these programs run, by the id of their cgroup.
    pub lineages: BTreeMap<u64, Lineage>,
    /// Ids of the cgroups whose connects are judged, with all below them.
    pub captured: BTreeSet<u64>,
}

impl LiveConnections {
    /// Who made a connection. None where policies do not judge that client: what a waypoint passes on was judged when its
    /// client connected, and who bypasses the mesh is judged nowhere. Groups are not known of connections that stand.
    pub fn whose(&self, tables: &Tables, cgroup: u64, user: u32) -> Option<Whose> {
        let lineage = self.lineages.get(&cgroup);
        let lineage = lineage.map_or_else(Vec::new, |it| it.ids.clone());
        if lineage.iter().any(|id| tables.callers.contains_key(id)) {
            return None;
        }
        Some(Whose {
            cgroup: Some(cgroup),
            lineage,
            user: Some(user),
            ..Whose::any(Caller::Ordinary)
        })
    }

    /// Those that programs of captured cgroups made and that are in no row, each with the cgroup. They went straight to
    /// where they are, or found no slot when the connection table was full: what is at their other end judges them then.
    pub fn direct(&self) -> impl Iterator<Item = (&Made, u64)> {
        let listed: BTreeSet<u64> = self.listed.iter().map(|it| it.cookie).collect();
        self.made.iter().filter_map(move |made| {
            let cgroup = made.cgroup?;
            let lineage = self.lineages.get(&cgroup)?;
            let is_captured = lineage.ids.iter().any(|id| self.captured.contains(id));
            (is_captured && !listed.contains(&made.cookie)).then_some((made, cgroup))
        })
    }
}
