//! Per-CPU counters, pulled by the daemon when somebody asks.

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use kmesh_lite_common::{AuthorizationId, WaypointId};
use kmesh_lite_ebpf::{Chosen, Outcome, PassReason, Refuse, Verdict};

#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::ALL.len() as u32, 0);
/// Connects by service, whatever became of them after the service was found.
#[map]
static SERVICE_CONNECTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// Connects by endpoint chosen, through the waypoint of its backend or not.
#[map]
static ENDPOINT_CONNECTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Connects that an authorization policy refused, or would have.
#[map]
static AUTHORIZATION_CONNECTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The same of connections and datagrams that arrived.
#[map]
static AUTHORIZATION_ARRIVALS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Counts one connect that is left as it is.
#[inline(always)]
pub fn count_pass(reason: PassReason) {
    if let Some(outcome) = Verdict::Pass(reason).outcome() {
        add(&OUTCOMES, outcome as u32);
    }
}

/// Counts one connect that goes there, or to a waypoint on the way.
#[inline(always)]
pub fn count_redirect(chosen: &Chosen, waypoint: Option<WaypointId>) {
    add(&OUTCOMES, chosen.outcome(waypoint) as u32);
    if let Some(service) = chosen.service {
        add(&SERVICE_CONNECTS, service.index());
    }
    if let Some(endpoint) = chosen.endpoint {
        add(&ENDPOINT_CONNECTS, endpoint.index());
    }
}

/// Counts a refusal of this number.
#[inline(always)]
pub fn count_refusal(number: u64) {
    add(&OUTCOMES, Refuse::outcome_of(number));
}

/// Counts what an authorization policy refused, or would have.
#[inline(always)]
pub fn count_authorization(id: AuthorizationId) {
    add(&AUTHORIZATION_CONNECTS, id.index());
}

/// Counts what an authorization policy refused where it arrived, or would have.
#[inline(always)]
pub fn count_arrival(id: AuthorizationId) {
    add(&AUTHORIZATION_ARRIVALS, id.index());
}

/// Counts what is no verdict of a connect.
#[inline(always)]
pub fn count_outcome(outcome: Outcome) {
    add(&OUTCOMES, outcome as u32);
}

#[inline(always)]
fn add(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: this CPU's copy. Programs do not move between CPUs; one that interrupts another
        // on the same CPU can lose a count, which a counter of connects can bear.
        unsafe { *counter += 1 };
    }
}
