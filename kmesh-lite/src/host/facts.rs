//! Facts about this host, gathered once a pass.

use super::namespaces::namespaces;
use super::{Cgroups, Change, Units, WatchError};
use crate::config::Host;
use crate::model::{CgroupRef, Facts, Mesh, Principal};

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
    let looked = units.look(meshes.into_iter().flat_map(names));
    Sight {
        facts: Facts {
            own_addresses: host.own_addresses.clone(),
            cgroups: looked.found,
            users: host.users.clone(),
            groups: host.groups.clone(),
            namespaces: namespaces(),
            ..Facts::default()
        },
        changed: looked.changed,
        blind: looked.blind,
    }
}

/// The facts for one mesh, without watching anything.
pub fn facts(host: &Host, cgroups: &Cgroups, mesh: &Mesh) -> Facts {
    Facts {
        own_addresses: host.own_addresses.clone(),
        users: host.users.clone(),
        groups: host.groups.clone(),
        cgroups: cgroups.search(&names(mesh).collect(), |_| ()),
        namespaces: namespaces(),
        ..Facts::default()
    }
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
        .chain(clients)
}
