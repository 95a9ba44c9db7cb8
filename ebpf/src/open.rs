//! How many connections are open: of each endpoint and service where somebody asks for that.
//!
//! A connection is counted by the decision, and for as long as its slot says so, or the storage of its socket. It is
//! taken back by whichever comes first: TCP is done with it, its socket connects again, its slot is given back.
//! [`Stage::CLOSED`] is set at each of these by one instruction that gives the stages there were, so exactly one of
//! them finds it unset.

use crate::atomic::{add, fetch_add, fetch_add_long, replace, take_one};
use crate::maps::number;
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

/// Takes a place in a service, which may have so many at once. A function as [`leave_open`] is.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn take_service(service: u64, limit: u64) -> u64 {
    let id = ServiceId::from_index((service as u32).wrapping_sub(1));
    u64::from(take(id.and_then(of_service), limit as u32))
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

/// Whether a connect to a service is due, as a function of that kind.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn is_due(service: u64, interval: u64) -> u64 {
    let id = ServiceId::from_index((service as u32).wrapping_sub(1));
    u64::from(id.is_none_or(|id| made(id, interval)))
}

#[inline(always)]
fn made(id: ServiceId, interval: u64) -> bool {
    let Some(row) = SERVICE_OPEN.get_ptr_mut(id.index()) else {
        return true;
    };
    // SAFETY: inside an element of the map.
    spend(unsafe { addr_of_mut!((*row).due) }, interval)
}

/// Moves the moment at which the next connect is due by `interval` nanoseconds. Gives false, and leaves it, where it
/// would lie ahead by more than may be saved up.
#[inline(always)]
pub fn spend(due: *mut u64, interval: u64) -> bool {
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let latest = now + Picking::SAVED;
    // SAFETY: inside an element of a map. Volatile: all processors write it.
    let there = unsafe { read_volatile(due) };
    if !Picking::is_due(there, now, interval) {
        return false;
    }
    if there < now {
        // Whoever is faster has done the same.
        replace(due, there, now);
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
        endpoint.and_then(of_endpoint).map_or(0, term),
        service.and_then(of_service).map_or(0, term),
    )
}

#[inline(always)]
fn term(open: *mut Open) -> u32 {
    // SAFETY: inside an element of the map. Volatile: the daemon writes it.
    unsafe { read_volatile(addr_of!((*open).term)) }
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
    let counted = before.has(Stage::AT_ENDPOINT) || before.has(Stage::AT_SERVICE);
    if !before.has(Stage::CLOSED) && counted {
        leave(
            endpoint.filter(|_| before.has(Stage::AT_ENDPOINT)),
            service.filter(|_| before.has(Stage::AT_SERVICE)),
            terms,
        );
    }
}

/// Counts a connection to an endpoint and one to a service no more, where the `terms` of the ids, if they are given, are
/// those of now.
#[inline(always)]
pub fn leave(endpoint: Option<EndpointId>, service: Option<ServiceId>, terms: Option<(u32, u32)>) {
    let (of_endpoint, of_service) = terms.unwrap_or_default();
    leave_open(
        number(endpoint.map(EndpointId::index)),
        number(service.map(ServiceId::index)),
        u64::from(terms.is_some()),
        u64::from(of_endpoint),
        u64::from(of_service),
    );
}

/// [`leave`] as a function that the verifier looks at once, apart from the programs that call it: 0 is for no id. So
/// it is in each program once, too.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn leave_open(
    endpoint: u64,
    service: u64,
    has_terms: u64,
    endpoint_term: u64,
    service_term: u64,
) -> u64 {
    let is_of = |open: *mut Open, noted: u64| has_terms == 0 || noted == u64::from(term(open));
    let endpoint = EndpointId::from_index((endpoint as u32).wrapping_sub(1));
    if let Some(open) = endpoint.and_then(of_endpoint)
        && is_of(open, endpoint_term)
    {
        one_less(open);
    }
    let service = ServiceId::from_index((service as u32).wrapping_sub(1));
    if let Some(open) = service.and_then(of_service)
        && is_of(open, service_term)
    {
        one_less(open);
    }
    0
}

#[inline(always)]
fn one_less(open: *mut Open) {
    // SAFETY: inside an element of the map.
    take_one(unsafe { addr_of_mut!((*open).count) });
}
