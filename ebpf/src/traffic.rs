//! Sums of what became of connections, and histograms of their times: one row each for CPU, service,
//! endpoint, waypoint and cgroup, which the daemon reads when somebody asks. A row is made when it is first
//! needed. Where there is no room for one, that is counted.
//!
//! What is open is told by what began and what ended. So no count may be lost when the kernel runs a program
//! in the middle of another one on the same CPU, and each is one instruction.

use crate::atomic::add;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerCpuHashMap};
use core::arch::asm;
use core::ptr::{addr_of_mut, null_mut, read_volatile, write_volatile};
use kmesh_lite_common::{Durations, Ending, Life, ServiceId, Traffic, TrafficKey};

#[map]
static TRAFFIC: PerCpuHashMap<TrafficKey, Traffic> =
    PerCpuHashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
#[map]
static DURATIONS: PerCpuHashMap<Option<ServiceId>, Durations> =
    PerCpuHashMap::with_max_entries(1, BPF_F_NO_PREALLOC);
/// How many beginnings and endings of connections found no row of their own, and when a row could not be
/// made for the last time.
#[map]
static UNCOUNTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(4, 0);
const COUNT: u32 = 0;
const NO_SUMS: u32 = 1;
const NO_TIMES: u32 = 2;
pub const NO_ARRIVALS: u32 = 3;
/// For so long no other row is tried to be made, in nanoseconds: that takes longer than all the rest.
const PATIENCE: u64 = 1_000_000_000;

const NOTHING: Traffic = Traffic {
    established: 0,
    failed: [0; Ending::COUNT],
    ended: [0; Ending::COUNT],
    sent: 0,
    received: 0,
    retransmits: 0,
    rtt: 0,
    rtts: 0,
    connecting: 0,
    open: 0,
};
static NO_TRAFFIC: Traffic = NOTHING;
static NO_DURATIONS: Durations = Durations {
    connecting: [0; Durations::BUCKETS],
    open: [0; Durations::BUCKETS],
    rest: NOTHING,
};

/// What a connection did since it was looked at last, or since it began.
pub struct Done {
    pub sent: u64,
    pub received: u64,
    pub retransmits: u64,
    /// In microseconds.
    pub rtt: u64,
    /// As [`Life::connecting`]; 0 where it was added up already.
    pub connecting: u32,
}

/// A connection stands.
#[inline(always)]
pub fn stands(key: &TrafficKey) {
    let sums = sums(key);
    if !sums.is_null() {
        // SAFETY: this CPU's row, which lives as long as the program runs.
        unsafe { add(addr_of_mut!((*sums).established), 1) };
    }
}

/// An attempt came to nothing; so many times its SYN was sent again.
#[inline(always)]
pub fn failed(key: &TrafficKey, ending: Ending, retransmits: u64) {
    let sums = sums(key);
    if !sums.is_null() {
        // SAFETY: as in `stands`.
        unsafe {
            count_ending(addr_of_mut!((*sums).failed), ending);
            if retransmits != 0 {
                add(addr_of_mut!((*sums).retransmits), retransmits);
            }
        }
    }
}

/// A connection that stood has ended; it was `open` for so many nanoseconds.
#[inline(always)]
pub fn ended(key: &TrafficKey, ending: Ending, done: &Done, open: u64) {
    let times = times(&key.service);
    if !times.is_null() {
        // SAFETY: as in `stands`.
        unsafe { count_time(addr_of_mut!((*times).open), open) };
        connected(times, done);
    }
    let sums = sums(key);
    if sums.is_null() {
        return;
    }
    // SAFETY: as above.
    unsafe {
        count_ending(addr_of_mut!((*sums).ended), ending);
        add(addr_of_mut!((*sums).open), open);
    }
    add_done(sums, done);
}

/// A connection that goes on has done something.
#[inline(always)]
pub fn grown(key: &TrafficKey, done: &Done) {
    if done.connecting != 0 {
        let times = times(&key.service);
        if !times.is_null() {
            connected(times, done);
        }
    }
    if done.sent == 0 && done.received == 0 && done.retransmits == 0 && done.connecting == 0 {
        return;
    }
    let sums = sums(key);
    if !sums.is_null() {
        add_done(sums, done);
    }
}

#[inline(always)]
fn connected(times: *mut Durations, done: &Done) {
    if done.connecting != 0 {
        // SAFETY: a row of this CPU.
        unsafe { count_time(addr_of_mut!((*times).connecting), nanoseconds(done)) };
    }
}

#[inline(always)]
fn nanoseconds(done: &Done) -> u64 {
    Life::connecting_in_nanoseconds(done.connecting)
}

#[inline(always)]
fn add_done(sums: *mut Traffic, done: &Done) {
    // SAFETY: a row of this CPU.
    unsafe {
        add(addr_of_mut!((*sums).sent), done.sent);
        add(addr_of_mut!((*sums).received), done.received);
        if done.retransmits != 0 {
            add(addr_of_mut!((*sums).retransmits), done.retransmits);
        }
        add(addr_of_mut!((*sums).rtt), done.rtt);
        add(addr_of_mut!((*sums).rtts), 1);
        add(addr_of_mut!((*sums).connecting), nanoseconds(done));
    }
}

/// The row of this CPU; that of the service where there is no room for one; null where there is none either.
#[inline(always)]
fn sums(key: &TrafficKey) -> *mut Traffic {
    let own = row(&TRAFFIC, key, &NO_TRAFFIC, NO_SUMS);
    if !own.is_null() {
        return own;
    }
    uncounted();
    let times = times(&key.service);
    if times.is_null() {
        return null_mut();
    }
    // SAFETY: a field of a row of this CPU.
    unsafe { addr_of_mut!((*times).rest) }
}

/// Something found no room.
#[inline(always)]
pub fn uncounted() {
    if let Some(count) = UNCOUNTED.get_ptr_mut(COUNT) {
        add(count, 1);
    }
}

#[inline(always)]
fn times(service: &Option<ServiceId>) -> *mut Durations {
    row(&DURATIONS, service, &NO_DURATIONS, NO_TIMES)
}

/// This CPU's row, made if need be; null where there is no room.
#[inline(always)]
pub fn row<K, V>(map: &'static PerCpuHashMap<K, V>, key: &K, zero: &V, failed: u32) -> *mut V {
    if let Some(there) = map.get_ptr_mut(key) {
        return there;
    }
    let Some(failed) = UNCOUNTED.get_ptr_mut(failed) else {
        return null_mut();
    };
    let now = now();
    // SAFETY: this CPU's element.
    let before = unsafe { read_volatile(failed) };
    if before != 0 && now.wrapping_sub(before) < PATIENCE {
        return null_mut();
    }
    // Another CPU may have made it meanwhile.
    let _ = map.insert(key, zero, BPF_NOEXIST as u64);
    if let Some(there) = map.get_ptr_mut(key) {
        return there;
    }
    // SAFETY: this CPU's element.
    unsafe { write_volatile(failed, now) };
    null_mut()
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// # Safety
///
/// The counts are of a row of this CPU.
#[inline(always)]
unsafe fn count_ending(counts: *mut [u64; Ending::COUNT], ending: Ending) {
    // SAFETY: within the counts, whatever the ending.
    unsafe {
        let at = ending.0 as usize % Ending::COUNT;
        add(counts.cast::<u64>().add(at), 1);
    }
}

/// [`Durations::bucket`] as a function that the verifier looks at once, and not on each way to it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn bucket(nanoseconds: u64) -> u64 {
    Durations::bucket(nanoseconds) as u64
}

/// # Safety
///
/// The counts are of a row of this CPU.
#[inline(always)]
unsafe fn count_time(counts: *mut [u64; Durations::BUCKETS], nanoseconds: u64) {
    const LAST: usize = Durations::BUCKETS - 1;
    const { assert!(Durations::BUCKETS.is_power_of_two()) };
    let mut at = bucket(nanoseconds);
    // SAFETY: within the counts, whatever the time. The compiler would leave out a bound that it can do without, and
    // the verifier cannot.
    unsafe {
        asm!("{at} &= {LAST}", at = inout(reg) at, LAST = const LAST);
        add(counts.cast::<u64>().add(at as usize), 1);
    }
}
