//! Moments in the life of a connection, told while somebody wants to know them. Nobody does most of the
//! time, and then all of this is one look at a word. So what tells is in functions of its own: it stays
//! out of the way of programs that tell nothing, and the verifier looks at it apart from them.

use crate::atomic::add;
use crate::authorize::judgement;
use crate::consequence::{packed, unpacked};
use crate::context::{self, Fields, V4, V6};
use crate::maps;
use crate::original;
use crate::programs::inbound::Arrival;
use crate::reading::Maps;
use crate::remember;
use crate::slots;
use aya_ebpf::bindings::{bpf_sock_addr, bpf_sock_ops};
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_uid_gid,
    bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_sk_storage_get,
};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use aya_ebpf::programs::{SockAddrContext, SockContext, SockOpsContext};
use core::ffi::c_void;
use core::ptr::{addr_of, addr_of_mut, null_mut, read_volatile, write_volatile};
use kmesh_lite_common::{
    Address, AuthorizationId, Connection, Ending, Interest, Moment, MomentKind, Original, Port,
    Protocol, Teller,
};
use kmesh_lite_ebpf::{Redirect, Refuse};

#[btf_map]
static TELLERS: SkStorage<Teller> = SkStorage::new();
#[map]
static MOMENTS: RingBuf = RingBuf::with_byte_size(1024 * 1024, 0);
/// Moments for which the buffer had no room.
#[map]
static MOMENTS_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What happened to a connection that is followed.
#[derive(Clone, Copy)]
pub struct Happened {
    pub kind: MomentKind,
    pub detail: u32,
    pub sent: u64,
    pub received: u64,
    /// In nanoseconds.
    pub connecting: u64,
    /// In nanoseconds.
    pub open: u64,
    /// In microseconds.
    pub rtt: u32,
}

impl Happened {
    #[inline(always)]
    pub fn new(kind: MomentKind) -> Self {
        Self {
            kind,
            detail: 0,
            sent: 0,
            received: 0,
            connecting: 0,
            open: 0,
            rtt: 0,
        }
    }
}

/// A connect or a datagram is sent elsewhere. The context still has what was asked for.
#[inline(always)]
pub fn decided<F: Fields, const TABLE: bool>(
    ctx: &SockAddrContext,
    tables: &Maps<'_, TABLE>,
    to: &Redirect,
) {
    let interest = tables.interest();
    if interest.any() {
        let (chosen, way) = packed(&to.chosen, to.waypoint);
        let outcome = to.chosen.outcome(to.waypoint) as u32;
        tell::<F>(ctx, chosen, way, outcome, interest, tables.judged());
    }
}

/// A connect or a datagram is refused; `refusal` is the number of it.
#[inline(always)]
pub fn rejected<F: Fields, const TABLE: bool>(
    ctx: &SockAddrContext,
    tables: &Maps<'_, TABLE>,
    refusal: u64,
) {
    let interest = tables.interest();
    if interest.any() {
        let outcome = Refuse::outcome_of(refusal);
        tell::<F>(ctx, 0, 0, outcome, interest, tables.judged());
    }
}

#[inline(always)]
fn tell<F: Fields>(
    ctx: &SockAddrContext,
    chosen: u64,
    way: u64,
    outcome: u32,
    interest: Interest,
    judged: u64,
) {
    let tell = if F::IS_V4 { tell4 } else { tell6 };
    let what = u64::from(outcome) | u64::from(interest.0) << 32;
    tell(ctx.sock_addr, chosen, way, what, judged);
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tell4(ctx: *mut bpf_sock_addr, chosen: u64, way: u64, what: u64, judged: u64) -> u64 {
    tell_decision::<V4>(&SockAddrContext::new(ctx), chosen, way, what, judged)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tell6(ctx: *mut bpf_sock_addr, chosen: u64, way: u64, what: u64, judged: u64) -> u64 {
    tell_decision::<V6>(&SockAddrContext::new(ctx), chosen, way, what, judged)
}

/// What was chosen comes as [`packed`] makes it, what came of it with the interest in the high word.
#[inline(always)]
fn tell_decision<F: Fields>(
    ctx: &SockAddrContext,
    chosen: u64,
    way: u64,
    what: u64,
    judged: u64,
) -> u64 {
    let (outcome, interest) = (what as u32, Interest((what >> 32) as u32));
    let judged = judgement(judged);
    let authorization = judged.denied.or(judged.audited);
    // Only what is sent elsewhere leads to something.
    let is_decided = way != 0;
    let kind = if is_decided {
        MomentKind::Decided
    } else {
        MomentKind::Rejected
    };
    if is_decided {
        note(ctx);
        // Nothing else tells what a policy in audit mode would have refused.
        if !interest.has(Interest::ALL) && authorization.is_none() {
            return 0;
        }
    }
    let Some(mut entry) = begin(remember::cookie(ctx), kind) else {
        return 0;
    };
    let asked = context::asked::<F>(ctx);
    let (chosen, waypoint) = unpacked(chosen, way);
    let moment = entry.as_mut_ptr();
    // SAFETY: our own part of the buffer.
    unsafe {
        write_volatile(addr_of_mut!((*moment).address), asked.address);
        (*moment).port = asked.port;
        (*moment).protocol = asked.protocol;
        (*moment).service = chosen.service;
        (*moment).endpoint = chosen.endpoint;
        (*moment).backend = chosen.backend;
        (*moment).waypoint = waypoint;
        (*moment).detail = outcome;
        (*moment).authorization = authorization;
        (*moment).cgroup = bpf_get_current_cgroup_id();
        (*moment).process = maps::process();
        (*moment).user = bpf_get_current_uid_gid() as u32;
        bpf_get_current_comm(addr_of_mut!((*moment).command).cast(), 16);
    }
    entry.submit(0);
    0
}

/// Notes who connects, for moments at which nobody runs who could be asked.
#[inline(always)]
fn note(ctx: &SockAddrContext) {
    let mut empty = Teller::default();
    // SAFETY: the hooks we attach to always have a socket.
    let teller = unsafe { TELLERS.get_or_insert_ptr_mut(ctx, Some(&mut empty)) };
    if teller.is_null() {
        return;
    }
    // SAFETY: storage of this socket, whose connects follow one another.
    unsafe {
        (*teller).connecting = 0;
        bpf_get_current_comm(addr_of_mut!((*teller).command).cast(), 16);
    }
}

/// What was noted with a socket; one that connected while nobody wanted to know has nothing.
#[inline(always)]
fn teller(sk: *mut c_void) -> Option<&'static mut Teller> {
    let map = addr_of!(TELLERS).cast_mut();
    // SAFETY: a socket that the hook holds.
    let kept = unsafe { bpf_sk_storage_get(map.cast(), sk, null_mut(), 0) };
    // SAFETY: null or storage that lives as long as the socket, whose lock the hooks hold.
    unsafe { kept.cast::<Teller>().as_mut() }
}

/// Something happened to a connection that is followed.
#[inline(always)]
pub fn happened(ctx: &SockOpsContext, what: &Happened) {
    let interest = maps::interest();
    if interest.any() {
        let copy = *what;
        tell_happened(ctx.ops, &copy, interest);
    }
}

#[inline(never)]
fn tell_happened(ctx: *mut bpf_sock_ops, what: &Happened, interest: Interest) {
    // SAFETY: the context of a program that the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
    // SAFETY: the context is valid while the program runs.
    let sk = unsafe { (*ctx).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    let noted = teller(sk.cast());
    if what.kind == MomentKind::Established {
        if let Some(teller) = noted {
            // For its end.
            teller.connecting = what.connecting;
        }
        if !interest.has(Interest::ALL) {
            return;
        }
    }
    let Some(mut entry) = begin(cookie, what.kind) else {
        return;
    };
    let moment = entry.as_mut_ptr();
    // SAFETY: our own part of the buffer.
    unsafe {
        (*moment).detail = what.detail;
        (*moment).sent = what.sent;
        (*moment).received = what.received;
        (*moment).connecting = what.connecting;
        (*moment).open = what.open;
        (*moment).rtt = what.rtt;
        (*moment).retransmits = (*ctx).total_retrans;
    }
    own_side(ctx, moment);
    if let Some(slot) = slots::held(cookie) {
        if let Some(connection) = slot.connection() {
            of_row(moment, connection);
        }
    } else if let Some(original) = original::of(sk) {
        of_original(moment, original);
    }
    if let Some(teller) = teller(sk.cast()) {
        of_teller(moment, teller);
    }
    entry.submit(0);
}

/// An attempt of which no segment left.
#[inline(always)]
pub fn not_sent(ctx: &SockContext, cookie: u64, connection: &Connection) {
    if !maps::interest().any() {
        return;
    }
    let Some(mut entry) = begin(cookie, MomentKind::Failed) else {
        return;
    };
    let moment = entry.as_mut_ptr();
    // SAFETY: our own part of the buffer.
    unsafe { (*moment).detail = Ending::NotSent.0 };
    of_row(moment, connection);
    if let Some(teller) = teller(ctx.sock.cast()) {
        of_teller(moment, teller);
    }
    entry.submit(0);
}

/// Something that arrived was denied, or would have been if its policy counted.
#[inline(always)]
pub fn denied(arrival: &Arrival, id: AuthorizationId, is_enforced: bool) {
    if maps::interest().any() {
        let copy = *arrival;
        tell_denied(&copy, id, is_enforced);
    }
}

#[inline(never)]
fn tell_denied(arrival: &Arrival, id: AuthorizationId, is_enforced: bool) {
    let Some(mut entry) = begin(0, MomentKind::Denied) else {
        return;
    };
    let moment = entry.as_mut_ptr();
    // SAFETY: our own part of the buffer.
    unsafe {
        write_volatile(addr_of_mut!((*moment).address), arrival.local.address);
        write_volatile(addr_of_mut!((*moment).source), arrival.from);
        (*moment).port = arrival.local.port;
        (*moment).protocol = arrival.local.protocol;
        (*moment).source_port = arrival.from_port;
        (*moment).authorization = Some(id);
        (*moment).detail = u32::from(is_enforced);
        (*moment).user = Moment::NOBODY;
    }
    entry.submit(0);
}

/// A part of the buffer, empty but for this.
#[inline(always)]
fn begin(cookie: u64, kind: MomentKind) -> Option<RingBufEntry<Moment>> {
    let Some(mut entry) = MOMENTS.reserve::<Moment>(0) else {
        if let Some(lost) = MOMENTS_LOST.get_ptr_mut(0) {
            add(lost, 1);
        }
        return None;
    };
    let moment = entry.as_mut_ptr();
    // SAFETY: our own part of the buffer, in which every bit pattern is valid.
    unsafe {
        let mut word = 0;
        // Volatile: else the compiler calls a function that does it byte by byte.
        while word < size_of::<Moment>() / 8 {
            write_volatile(moment.cast::<u64>().add(word), 0);
            word += 1;
        }
        (*moment).cookie = cookie;
        (*moment).at = bpf_ktime_get_ns();
        (*moment).kind = kind;
    }
    Some(entry)
}

/// What the table has of a connection.
#[inline(always)]
fn of_row(moment: *mut Moment, connection: &Connection) {
    // SAFETY: our own part of the buffer.
    unsafe {
        copy(
            addr_of!(connection.address),
            addr_of_mut!((*moment).address),
        );
        (*moment).port = connection.port;
        (*moment).protocol = connection.protocol;
        (*moment).cgroup = connection.cgroup;
        (*moment).service = connection.service;
        (*moment).endpoint = connection.endpoint;
        (*moment).backend = connection.backend;
        (*moment).waypoint = connection.waypoint;
        (*moment).process = connection.process;
        (*moment).user = connection.user;
    }
}

/// What was noted of it.
#[inline(always)]
fn of_teller(moment: *mut Moment, teller: &Teller) {
    // SAFETY: our own part of the buffer, and storage of the socket.
    unsafe {
        copy(addr_of!(teller.command), addr_of_mut!((*moment).command));
        if teller.connecting != 0 {
            (*moment).connecting = teller.connecting;
        }
    }
}

/// What a socket without a slot has; only connections over TCP are followed.
#[inline(always)]
fn of_original(moment: *mut Moment, original: &Original) {
    // SAFETY: our own part of the buffer.
    unsafe {
        copy(addr_of!(original.address), addr_of_mut!((*moment).address));
        (*moment).port = original.port;
        (*moment).protocol = Protocol::Tcp;
        (*moment).cgroup = original.cgroup;
        (*moment).service = original.service;
        (*moment).endpoint = original.endpoint;
        (*moment).backend = original.backend;
        (*moment).waypoint = original.waypoint;
        (*moment).process = original.process;
        (*moment).user = Moment::NOBODY;
    }
}

/// Copies 16 bytes word by word; byte by byte it would be a call.
///
/// # Safety
///
/// Both are at a multiple of 8 in memory of which that much is there.
#[inline(always)]
unsafe fn copy<T>(from: *const T, to: *mut T) {
    const { assert!(size_of::<T>() == 16) };
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b] = read_volatile(from.cast::<[u64; 2]>());
        write_volatile(to.cast::<[u64; 2]>(), [a, b]);
    }
}

/// The client's own address and port.
#[inline(always)]
fn own_side(ctx: *mut bpf_sock_ops, moment: *mut Moment) {
    const AF_INET: u32 = 2;
    // SAFETY: the context is valid while the program runs; word by word, because the verifier refuses to
    // see the context pointer moved. The port is in host order.
    unsafe {
        // All of them, whatever the family: one load at either place would be of a moved pointer.
        let v4 = read_volatile(addr_of!((*ctx).local_ip4));
        let v6 = [
            read_volatile(addr_of!((*ctx).local_ip6[0])),
            read_volatile(addr_of!((*ctx).local_ip6[1])),
            read_volatile(addr_of!((*ctx).local_ip6[2])),
            read_volatile(addr_of!((*ctx).local_ip6[3])),
        ];
        (*moment).source = if read_volatile(addr_of!((*ctx).family)) == AF_INET {
            Address::from_v4_word(v4)
        } else {
            Address::from_v6_words(v6)
        };
        (*moment).source_port = Port::new(read_volatile(addr_of!((*ctx).local_port)) as u16);
    }
}
