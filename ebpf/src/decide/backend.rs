//! From a backend to its address, or to its waypoint.

use super::waypoint;
use crate::{Connect, Lookup, PassReason, Redirect, Refuse, Verdict};
use kmesh_lite_common::{BackendId, Caller, Port, ServiceId};

/// A backend that a service chose.
#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    target: Port,
    service: ServiceId,
    id: BackendId,
) -> Verdict {
    let Some(backend) = tables.backend(id) else {
        return Verdict::Refuse(Refuse::Dangling);
    };
    if let Some(waypoint) = backend.waypoint
        && caller != Caller::Waypoint
    {
        return waypoint::decide(tables, connect, Some(service), Some(id), waypoint);
    }
    if !connect.reaches(&backend.address) {
        return Verdict::Refuse(Refuse::Family);
    }
    Verdict::Redirect(Redirect {
        address: backend.address,
        port: target,
        service: Some(service),
        backend: Some(id),
        waypoint: None,
    })
}

/// A backend that the program asked for by its own address.
#[inline(always)]
pub fn direct<L: Lookup>(tables: &L, connect: &Connect, caller: Caller, id: BackendId) -> Verdict {
    match tables.backend(id) {
        Some(backend) => match backend.waypoint {
            Some(waypoint) if caller != Caller::Waypoint => {
                waypoint::decide(tables, connect, None, Some(id), waypoint)
            }
            _ => Verdict::Pass(PassReason::Direct),
        },
        None => Verdict::Refuse(Refuse::Dangling),
    }
}
