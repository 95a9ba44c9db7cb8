//! Whose questions to DNS servers are captured, by the ids of cgroups.

use crate::model::{Cgroup, Facts, Mesh};
use kmesh_lite_common::Asker;
use std::collections::BTreeMap;

/// What programs look up of a question's sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Askers {
    pub cgroups: BTreeMap<u64, Asker>,
    /// As those of callers.
    pub levels: u32,
    /// Whether only cgroups that are named are captured.
    pub listed: bool,
}

/// None where the mesh has no questions captured.
pub fn askers(mesh: &Mesh, facts: &Facts) -> Option<Askers> {
    let capture = mesh.query_capture()?;
    let mut askers = Askers {
        listed: capture.cgroups.is_some(),
        ..Askers::default()
    };
    let mut add = |cgroup: &Cgroup, asker| {
        askers.cgroups.insert(cgroup.id, asker);
        askers.levels |= super::caller::level_bit(cgroup);
    };
    for name in capture.cgroups.iter().flatten() {
        let there = facts.cgroups(name).iter();
        there.for_each(|cgroup| add(cgroup, Asker::Captured));
    }
    // Last, so that it counts of a cgroup that is both.
    for name in capture.left_alone() {
        let there = facts.cgroups(&name).iter();
        there.for_each(|cgroup| add(cgroup, Asker::LeftAlone));
    }
    Some(askers)
}
