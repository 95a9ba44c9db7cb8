//! From an address of ours to the waypoint or the endpoints of a service, or to whatever holds when no
//! service declares the port.

use super::{backend, endpoint, seat, waypoint};
use crate::{Chosen, Connect, Lookup, PassReason, Refuse, Verdict};
use kmesh_lite_common::{AddressKind, AddressRow, Caller, Frontend, Protocol};

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
) -> Verdict {
    let Some(service) = frontend.service else {
        return Verdict::Refuse(Refuse::Dangling);
    };
    if !frontend.picking.is_plain() {
        return seat::decide(tables, connect, caller, frontend, service);
    }
    if let Some(waypoint) = frontend.waypoint
        && caller != Caller::Waypoint
    {
        let chosen = Chosen {
            service: Some(service),
            ..Chosen::default()
        };
        return waypoint::decide(tables, connect, chosen, waypoint);
    }
    if frontend.in_use.count == 0 {
        return Verdict::Refuse(Refuse::NoEndpoint);
    }
    endpoint::decide(tables, connect, caller, frontend, service)
}

#[inline(always)]
pub fn undeclared<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    address: &AddressRow,
) -> Verdict {
    match address.backend {
        Some(id) => backend::direct(tables, connect, caller, id),
        None if address.kind == AddressKind::Virtual => {
            Verdict::Refuse(if connect.protocol == Protocol::Udp {
                Refuse::UndeclaredUdpPort
            } else {
                Refuse::UndeclaredPort
            })
        }
        None => Verdict::Pass(PassReason::UndeclaredPort),
    }
}
