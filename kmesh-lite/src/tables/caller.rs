//! Rows of callers: cgroups whose processes are not ordinary ones.

use crate::model::{Caller, Cgroup, Facts, Mesh};
use std::collections::BTreeMap;

/// Callers by cgroup id, and the levels of the cgroup tree at which they are looked up: bit n stands
/// for n levels below the root, and a caller whose level is not known sets all of them.
pub fn callers(mesh: &Mesh, facts: &Facts) -> (BTreeMap<u64, Caller>, u32) {
    let (mut callers, mut levels) = (BTreeMap::new(), 0);
    for (reference, caller) in mesh.callers() {
        for cgroup in facts.cgroups(reference) {
            callers.insert(cgroup.id, caller);
            levels |= level_bit(cgroup);
        }
    }
    (callers, levels)
}

/// The bit of the level of a cgroup.
pub fn level_bit(cgroup: &Cgroup) -> u32 {
    let level = cgroup.level;
    level.map_or(u32::MAX, |level| 1u32.checked_shl(level).unwrap_or(0))
}
