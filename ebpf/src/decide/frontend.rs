//! From an address of ours to the waypoint or the endpoints of a service, or to whatever holds when no
//! service declares the port.

use super::seat::{self, Search};
use super::{backend, endpoint, waypoint};
use crate::{Chosen, Connect, Lookup, PassReason, Refuse, Taken, Verdict};
use kmesh_lite_common::{
    AddressKind, AddressRow, Caller, EndpointId, Frontend, FrontendKey, GuardId, Protocol,
    ServiceId,
};

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
    if frontend.picking.is_guarded() && !passes_on(caller, frontend) {
        let Some(guard) = tables.service(service).and_then(|service| service.guard) else {
            return Verdict::Refuse(Refuse::Dangling);
        };
        if tables.authorize(guard).denied.is_some() {
            return Verdict::Refuse(Refuse::Denied);
        }
    }
    let is_plain = frontend.picking.is_plain();
    let mut taken = Taken::NOTHING;
    if !is_plain {
        taken = match seat::admit(tables, caller, frontend, service) {
            Ok(taken) => taken,
            Err(refuse) => return Verdict::Refuse(refuse),
        };
    }
    let mut seat = None;
    let mut verdict = reach(tables, connect, caller, frontend, service, &mut seat);
    if !is_plain {
        seat::settle(tables, &mut verdict, seat, service, taken);
    }
    verdict
}

/// Whether a waypoint of the service connects: it passes on what was judged and counted when its client connected.
#[inline(always)]
pub fn passes_on(caller: Caller, frontend: &Frontend) -> bool {
    caller == Caller::Waypoint && frontend.waypoint.is_some()
}

/// `seat` becomes the endpoint at which the connect takes a seat, if it does.
#[inline(always)]
fn reach<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
    service: ServiceId,
    seat: &mut Option<EndpointId>,
) -> Verdict {
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
    let picking = &frontend.picking;
    let member = if let Some(kept) = tables.kept(&frontend.in_use, frontend.column) {
        kept
    } else if picking.has_seats() {
        let client = if picking.is_by_client() {
            tables.client(picking.clients_by())
        } else {
            0
        };
        let search = Search {
            service,
            client,
            family: connect.address.family(),
            column: frontend.column,
            balance: picking.balance,
            counts: picking.counts(),
            kept_by: picking.clients_by(),
            is_apart: picking.has_families_apart(),
            passes_on: caller == Caller::Waypoint,
        };
        let Some(member) = seat::member(tables, &search, frontend) else {
            return Verdict::Refuse(Refuse::EndpointsFull);
        };
        *seat = search.counted(member);
        member
    } else {
        let Some(member) = endpoint::pick(tables, &frontend.in_use, frontend.column) else {
            return Verdict::Refuse(Refuse::Dangling);
        };
        member
    };
    backend::decide(tables, connect, caller, frontend.target, service, member)
}

#[inline(always)]
pub fn undeclared<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    address: &AddressRow,
) -> Verdict {
    if address.guarded != 0 {
        // What a waypoint passes on was judged when its client connected.
        if caller != Caller::Waypoint
            && let Some(guard) = guard_of(tables, connect)
            && tables.authorize(guard).denied.is_some()
        {
            return Verdict::Refuse(Refuse::Denied);
        }
        if address.backend.is_none() {
            return Verdict::Pass(PassReason::Direct);
        }
    }
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

/// The guard of an endpoint's own address and port.
#[inline(always)]
fn guard_of<L: Lookup>(tables: &L, connect: &Connect) -> Option<GuardId> {
    let key = FrontendKey::new(connect.address, connect.port, connect.protocol);
    tables.destination(&key)?.guard
}
