//! What is true of this host at the moment.

use super::Cgroups;
use crate::model::{CallerFact, Facts, Mesh};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

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

/// Addresses of this host's interfaces.
pub fn own_addresses() -> io::Result<BTreeSet<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect())
}
