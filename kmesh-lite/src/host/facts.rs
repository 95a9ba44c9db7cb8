//! What is true of this host at the moment.

use super::{Cgroups, own_addresses};
use crate::model::{CallerFact, Facts, Mesh};
use std::io;

/// Addresses of this host's interfaces, and the cgroups that `mesh` wants treated specially.
pub fn facts(cgroups: &Cgroups, mesh: &Mesh) -> io::Result<Facts> {
    let mut facts = Facts {
        own_addresses: own_addresses()?,
        ..Facts::default()
    };
    let found = cgroups.search(mesh.callers().map(|(reference, _)| reference), |_| ());
    for (reference, caller) in mesh.callers() {
        for cgroup in found.get(reference).into_iter().flatten() {
            let level = cgroup.level;
            facts
                .callers
                .insert(cgroup.id, CallerFact { level, caller });
        }
    }
    Ok(facts)
}
