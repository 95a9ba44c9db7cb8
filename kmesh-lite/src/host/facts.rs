//! Facts about this host, gathered once a pass.

use super::namespaces::namespaces;
use super::{Cgroups, Change, Units, WatchError};
use crate::config::Host;
use crate::model::{Cgroup, CgroupRef, Facts, Mesh, Namespace, Principal, QueryCapture};
use std::collections::BTreeMap;

/// What looking at the host has shown.
#[derive(Debug)]
pub struct Sight {
    pub facts: Facts,
    /// Names that mean something else since the last look.
    pub changed: Vec<Change>,
    /// What cannot be watched; changes there are only found by the timer.
    pub blind: Vec<WatchError>,
}

/// Looks at everything that passes for `meshes` depend on, beside what is known of `host`. From now on a
/// change of the cgroups is an event: call this before a pass acts upon what is found.
pub fn look<'a>(
    host: &Host,
    units: &mut Units,
    meshes: impl IntoIterator<Item = &'a Mesh>,
) -> Sight {
    let meshes: Vec<_> = meshes.into_iter().collect();
    let looked = units.look(meshes.iter().copied().flat_map(names));
    let namespaces = namespaces_for(&meshes, &looked.found);
    Sight {
        facts: Facts {
            own_addresses: host.own_addresses.clone(),
            cgroups: looked.found,
            users: host.users.clone(),
            groups: host.groups.clone(),
            namespaces,
            ..Facts::default()
        },
        changed: looked.changed,
        blind: looked.blind,
    }
}

/// The facts for one mesh, without watching anything.
pub fn facts(host: &Host, cgroups: &Cgroups, mesh: &Mesh) -> Facts {
    let found = cgroups.search(&names(mesh).collect(), |_| ());
    Facts {
        own_addresses: host.own_addresses.clone(),
        users: host.users.clone(),
        groups: host.groups.clone(),
        namespaces: namespaces_for(&[mesh], &found),
        cgroups: found,
        ..Facts::default()
    }
}

/// The network namespaces of captured programs, if a mesh says from where connections may arrive.
fn namespaces_for(meshes: &[&Mesh], found: &BTreeMap<CgroupRef, Vec<Cgroup>>) -> Vec<Namespace> {
    let judging = meshes.iter().filter(|mesh| mesh.judges_arrivals());
    let mut judging = judging.peekable();
    if judging.peek().is_none() {
        return Vec::new();
    }
    let captured = judging.flat_map(|mesh| &mesh.capture.cgroups);
    let captured = captured.filter_map(|name| found.get(name)).flatten();
    let captured: Vec<_> = captured.map(|cgroup| cgroup.path.as_path()).collect();
    namespaces(&captured)
}

/// The cgroups that a mesh names: of special callers, those that are captured, and those of authorization policies.
fn names(mesh: &Mesh) -> impl Iterator<Item = CgroupRef> {
    let callers = mesh.callers().map(|(name, _)| name.clone());
    let clients = mesh.clients().into_iter();
    let clients = clients.filter_map(|client| match client {
        Principal::Cgroup(name) => Some(name.clone()),
        _ => None,
    });
    callers
        .chain(mesh.capture.cgroups.iter().cloned())
        .chain(
            mesh.query_capture()
                .into_iter()
                .flat_map(QueryCapture::names),
        )
        .chain(clients)
}
