//! The life of a pending header: from connect() to the first byte, and not an instant longer.
//!
//! 1. TCP_CONNECT: the connect hook has left a pending header with the socket. From here on we are
//!    asked whenever a segment of it is about to be built (HDR_OPT_LEN).
//! 2. ACTIVE_ESTABLISHED: the socket goes into [`PENDING`].
//! 3. The first send: [`crate::programs::header`] puts the header before what is sent, and sees it leave.
//! 4. HDR_OPT_LEN, inside that same send, for what follows the header: the socket leaves [`PENDING`].
//!    When send() returns, nothing of ours is left on the socket.
//!
//! A connection that ends before its first send (a client may take it back by connecting to AF_UNSPEC,
//! and connect elsewhere) ends all of this: the socket leaves [`PENDING`] when its state is CLOSE.
//!
//! Payload that is about to leave while the header is still pending (TCP Fast Open, a send that
//! began before the connection stood, or after one that the kernel refused together with the header)
//! would be taken for a header by the waypoint. Then the socket
//! is cut off: bound to an interface that does not exist, it cannot send another packet, not even
//! the one being built.

use crate::counters;
use crate::events::tell;
use crate::maps::PENDING;
use crate::socket;
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    BPF_ANY, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, BPF_TCP_CLOSE,
    BPF_TCP_SYN_SENT,
};
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_map_delete_elem, bpf_setsockopt, bpf_sock_hash_update,
};
use aya_ebpf::programs::SockOpsContext;
use core::ptr::{addr_of, addr_of_mut};
use kmesh_lite_common::{EventKind, Header, Original, Probe, Speaker};
use kmesh_lite_ebpf::Outcome;

/// To be asked about segments that are built.
const SEGMENTS: u32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as u32;
/// What we want to be asked about: that, and changes of the state.
const ASK: u32 = SEGMENTS | BPF_SOCK_OPS_STATE_CB_FLAG as u32;

/// A SYN is about to leave.
#[inline(always)]
pub fn connecting(ctx: &SockOpsContext, original: &Original) {
    if original.pending != Header::Nothing {
        let _ = ctx.set_cb_flags((ctx.cb_flags() | ASK) as i32);
    }
}

/// The connection stands.
#[inline(always)]
pub fn established(ctx: &SockOpsContext, original: &mut Original) {
    if original.pending == Header::Nothing {
        return;
    }
    // SAFETY: the context is valid while the program runs.
    if unsafe { (*ctx.ops).data_segs_out } != 0 {
        return close(ctx, original, EventKind::FastOpen);
    }
    let mut cookie = cookie(ctx);
    let map = addr_of!(PENDING).cast_mut().cast();
    // SAFETY: map, key and context are what the helper wants.
    let outcome =
        unsafe { bpf_sock_hash_update(ctx.ops, map, addr_of_mut!(cookie).cast(), BPF_ANY as u64) };
    if outcome != 0 {
        return close(ctx, original, EventKind::Unmappable);
    }
    if original.speaker == Speaker::Server {
        tell(cookie, original, EventKind::Waiting);
    }
}

/// A segment is about to be built, or the room that options leave in one is being found out.
#[inline(always)]
pub fn segment(ctx: &SockOpsContext, original: &mut Original) {
    if original.pending == Header::Nothing {
        // The rest of a send that is being probed has to pass the program as well.
        if original.probe == Probe::Idle {
            release(ctx);
        }
        return;
    }
    // SAFETY: the context is valid while the program runs.
    let (asking, length, state) = unsafe {
        (
            (*ctx.ops).__bindgen_anon_1.args[0],
            (*ctx.ops).skb_len,
            (*ctx.ops).state,
        )
    };
    if asking == 0 && length > 0 && !is_header(ctx, original, length) {
        let kind = if state == BPF_TCP_SYN_SENT {
            EventKind::FastOpen
        } else {
            EventKind::EarlySend
        };
        close(ctx, original, kind);
    }
}

/// Whether the segment is the header that leaves alone, as far as its length tells. Kernels that do not wait for
/// the rest of a message send it so. They refuse a send after the program has run only where they have no
/// memory; newer ones do so for more reasons, and wait.
#[inline(always)]
fn is_header(ctx: &SockOpsContext, original: &Original, length: u32) -> bool {
    // SAFETY: the context is valid while the program runs.
    let first = unsafe { (*ctx.ops).data_segs_out } == 0;
    let header = u32::from(original.header);
    // The last byte of one that the daemon sends comes after the mark.
    let alone = original.speaker == Speaker::Server && length + 1 == header;
    original.mark != 0 && first && !socket::ids_count_pieces() && (length == header || alone)
}

/// Whether a header may be pending.
#[inline(always)]
pub fn asks(ctx: &SockOpsContext) -> bool {
    ctx.cb_flags() & SEGMENTS != 0
}

/// The connection enters another state.
#[inline(always)]
pub fn changed(ctx: &SockOpsContext, original: &mut Original) {
    // SAFETY: the context is valid while the program runs.
    let state = unsafe { (*ctx.ops).__bindgen_anon_1.args[1] };
    if state == BPF_TCP_CLOSE {
        original.pending = Header::Nothing;
        release(ctx);
    }
}

/// Lets go of the socket.
#[inline(always)]
fn release(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags((ctx.cb_flags() & !SEGMENTS) as i32);
    let cookie = cookie(ctx);
    let map = addr_of!(PENDING).cast_mut().cast();
    // SAFETY: map and key. It fails if the socket is not there, which is what is wanted.
    let _ = unsafe { bpf_map_delete_elem(map, addr_of!(cookie).cast_mut().cast()) };
}

/// Keeps the socket from sending anything more, then lets TCP give it up (ETIMEDOUT).
#[inline(always)]
fn close(ctx: &SockOpsContext, original: &mut Original, kind: EventKind) {
    const SOL_SOCKET: i32 = 1;
    const SOL_TCP: i32 = 6;
    const SO_BINDTOIFINDEX: i32 = 62;
    const TCP_USER_TIMEOUT: i32 = 18;
    /// Interface numbers are handed out from 1 upwards.
    const NO_INTERFACE: i32 = i32::MAX;
    const AT_ONCE: i32 = 1;
    original.pending = Header::Nothing;
    release(ctx);
    let cut = set(ctx, SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE);
    set(ctx, SOL_TCP, TCP_USER_TIMEOUT, AT_ONCE);
    let (kind, outcome) = match kind {
        _ if !cut => (EventKind::Leaked, Outcome::HeaderLeaked),
        EventKind::FastOpen => (kind, Outcome::CloseFastOpen),
        EventKind::EarlySend => (kind, Outcome::CloseEarlySend),
        _ => (kind, Outcome::CloseUnmappable),
    };
    counters::count_outcome(outcome);
    tell(cookie(ctx), original, kind);
}

#[inline(always)]
fn set(ctx: &SockOpsContext, level: i32, name: i32, value: i32) -> bool {
    let mut value = value;
    let size = size_of::<i32>() as i32;
    let value = addr_of_mut!(value).cast();
    // SAFETY: the value is as long as we say.
    unsafe { bpf_setsockopt(ctx.as_ptr(), level, name, value, size) == 0 }
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: a context of a kind that the helper takes.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}
