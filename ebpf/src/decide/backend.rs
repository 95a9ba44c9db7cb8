//! From a backend to its address, or to its waypoint.

use super::waypoint;
use crate::{Chosen, Connect, Lookup, PassReason, Redirect, Refuse, Taken, Verdict};
use kmesh_lite_common::{BackendId, Caller, Member, Port, ServiceId};

/// A backend that a service chose, as one of its endpoints.
#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    target: Port,
    service: ServiceId,
    member: &Member,
) -> Verdict {
    let Some(id) = member.backend else {
        return Verdict::Refuse(Refuse::Dangling);
    };
    let chosen = Chosen {
        service: Some(service),
        endpoint: member.endpoint,
        backend: Some(id),
    };
    if member.has_waypoint() && caller != Caller::Waypoint {
        return match tables.backend(id).and_then(|backend| backend.waypoint) {
            Some(waypoint) => waypoint::decide(tables, connect, chosen, waypoint),
            None => Verdict::Refuse(Refuse::Dangling),
        };
    }
    if !connect.reaches(tables, &member.address) {
        return Verdict::Refuse(Refuse::Family);
    }
    Verdict::Redirect(Redirect {
        address: member.address,
        port: member.port_or(target),
        chosen,
        waypoint: None,
        taken: Taken::NOTHING,
    })
}

/// A backend that the program asked for by its own address.
#[inline(always)]
pub fn direct<L: Lookup>(tables: &L, connect: &Connect, caller: Caller, id: BackendId) -> Verdict {
    match tables.backend(id) {
        Some(backend) => match backend.waypoint {
            Some(waypoint) if caller != Caller::Waypoint => {
                let chosen = Chosen {
                    backend: Some(id),
                    ..Chosen::default()
                };
                waypoint::decide(tables, connect, chosen, waypoint)
            }
            _ => Verdict::Pass(PassReason::Direct),
        },
        None => Verdict::Refuse(Refuse::Dangling),
    }
}
