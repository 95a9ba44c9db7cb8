//! How many connections are open: of each endpoint and service where somebody asks for that.
//!
//! A connection is counted by the decision, and for as long as its slot says so, or the storage of its socket. It is
//! taken back by whichever comes first: TCP is done with it, its socket connects again, its slot is given back.
//! [`Stage::CLOSED`] is set at each of these by one instruction that gives the stages there were, so exactly one of
//! them finds it unset.

use crate::atomic::{add, fetch_add, fetch_add_long, replace, take_one};
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use core::ptr::{addr_of, addr_of_mut, read_volatile};
use kmesh_lite_common::{EndpointId, Open, Picking, ServiceId, ServiceOpen, Stage};

#[map]
static ENDPOINT_OPEN: Array<Open> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SERVICE_OPEN: Array<ServiceOpen> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[inline(always)]
fn of_endpoint(id: EndpointId) -> Option<*mut Open> {
    ENDPOINT_OPEN.get_ptr_mut(id.index())
}

#[inline(always)]
fn of_service(id: ServiceId) -> Option<*mut Open> {
    let row = SERVICE_OPEN.get_ptr_mut(id.index())?;
    // SAFETY: inside an element of the map.
    Some(unsafe { addr_of_mut!((*row).open) })
}

/// How many connections to an endpoint are open.
#[inline(always)]
pub fn endpoint(id: EndpointId) -> u32 {
    match of_endpoint(id) {
        // SAFETY: inside an element of the map. Volatile: all processors write it.
        Some(open) => unsafe { read_volatile(addr_of!((*open).count)) },
        None => 0,
    }
}

#[inline(always)]
pub fn take_endpoint(id: EndpointId, limit: u32) -> bool {
    take(of_endpoint(id), limit)
}

#[inline(always)]
pub fn take_service(id: ServiceId, limit: u32) -> bool {
    take(of_service(id), limit)
}

/// One that is beyond the table is not counted.
#[inline(always)]
fn take(open: Option<*mut Open>, limit: u32) -> bool {
    let Some(open) = open else { return true };
    // SAFETY: inside an element of the map.
    let count = unsafe { addr_of_mut!((*open).count) };
    // A look first: who comes to nothing must be in nobody's way.
    // SAFETY: as above. Volatile: all processors write it.
    if limit != 0 && unsafe { read_volatile(count) } >= limit {
        return false;
    }
    if fetch_add(count, 1) >= limit && limit != 0 {
        take_one(count);
        return false;
    }
    true
}

#[inline(always)]
pub fn leave_endpoint(id: EndpointId) {
    leave(of_endpoint(id));
}

#[inline(always)]
pub fn leave_service(id: ServiceId) {
    leave(of_service(id));
}

#[inline(always)]
fn leave(open: Option<*mut Open>) {
    if let Some(open) = open {
        // SAFETY: inside an element of the map.
        take_one(unsafe { addr_of_mut!((*open).count) });
    }
}

/// Whether a connect to a service is due. Each moves the moment at which the next one is due; it may lie ahead by as
/// much as may be saved up.
#[inline(always)]
pub fn is_due(id: ServiceId, interval: u32) -> bool {
    let Some(row) = SERVICE_OPEN.get_ptr_mut(id.index()) else {
        return true;
    };
    // SAFETY: inside an element of the map.
    let due = unsafe { addr_of_mut!((*row).due) };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let (interval, latest) = (interval as u64, now + Picking::SAVED);
    // SAFETY: as above. Volatile: all processors write it.
    let there = unsafe { read_volatile(due) };
    if there < now {
        // Whoever is faster has done the same.
        replace(due, there, now);
    } else if there + interval > latest {
        return false;
    }
    if fetch_add_long(due, interval) + interval > latest {
        add(due, interval.wrapping_neg());
        return false;
    }
    true
}

/// The terms of the ids of a connection that its socket remembers.
#[inline(always)]
pub fn terms(endpoint: Option<EndpointId>, service: Option<ServiceId>) -> (u32, u32) {
    (
        term(endpoint.and_then(of_endpoint)),
        term(service.and_then(of_service)),
    )
}

#[inline(always)]
fn term(open: Option<*mut Open>) -> u32 {
    match open {
        // SAFETY: inside an element of the map. Volatile: the daemon writes it.
        Some(open) => unsafe { read_volatile(addr_of!((*open).term)) },
        None => 0,
    }
}

/// A connection is over that had these stages before: it is counted no more. A slot has been made to forget ids that
/// stand for something else now; what a socket remembers has not, and gives the `terms` of its ids.
#[inline(always)]
pub fn over(
    before: Stage,
    endpoint: Option<EndpointId>,
    service: Option<ServiceId>,
    terms: Option<(u32, u32)>,
) {
    if before.has(Stage::CLOSED) {
        return;
    }
    if before.has(Stage::AT_ENDPOINT)
        && let Some(open) = endpoint.and_then(of_endpoint)
        && terms.is_none_or(|(noted, _)| noted == term(Some(open)))
    {
        leave(Some(open));
    }
    if before.has(Stage::AT_SERVICE)
        && let Some(open) = service.and_then(of_service)
        && terms.is_none_or(|(_, noted)| noted == term(Some(open)))
    {
        leave(Some(open));
    }
}
