//! The life of a pending header: from connect() to the first byte, and not an instant longer.
//!
//! 1. TCP_CONNECT: the connect hook has left a pending header with the socket. From here on we are
//!    asked whenever a segment of it is about to be built (HDR_OPT_LEN).
//! 2. ACTIVE_ESTABLISHED: the socket goes into [`PENDING`].
//! 3. The first send: [`push`] puts the header before what is sent.
//! 4. HDR_OPT_LEN, inside that same send: the header is out, the socket leaves [`PENDING`]. When
//!    send() returns, nothing of ours is left on the socket.
//!
//! Payload that is about to leave while the header is still pending (TCP Fast Open, a send that
//! began before the connection stood) would be taken for a header by the waypoint. Then the socket
//! is cut off: bound to an interface that does not exist, it cannot send another packet, not even
//! the one being built.

use crate::counters;
use crate::maps::{self, EVENTS, PENDING, original};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::bindings::{
    BPF_ANY, BPF_F_INGRESS, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG, BPF_TCP_SYN_SENT, bpf_sock,
};
use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_map_delete_elem, bpf_setsockopt, bpf_sock_hash_update,
};
use aya_ebpf::programs::{SkMsgContext, SockOpsContext};
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{Address, Event, EventKind, Header, Original, Port, SINK, Speaker};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_ebpf::header::{Bytes, End, encode};

/// Sock_ops programs must return this.
const DONE: u32 = 1;
const ASK_ABOUT_SEGMENTS: u32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as u32;

/// Follows a socket from connect() to its first byte.
#[inline(always)]
pub fn follow(ctx: &SockOpsContext) -> u32 {
    let op = ctx.op();
    // First of all, for the sake of every connection that is not ours.
    if op != BPF_SOCK_OPS_TCP_CONNECT_CB
        && op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB
        && op != BPF_SOCK_OPS_HDR_OPT_LEN_CB
    {
        return DONE;
    }
    // SAFETY: the context is valid while the program runs.
    let sk: *mut bpf_sock = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    let Some(original) = original::of(sk) else {
        return DONE;
    };
    if op == BPF_SOCK_OPS_HDR_OPT_LEN_CB {
        segment(ctx, original);
    } else if original.pending == Header::Nothing {
        // Redirected, but without a header.
    } else if op == BPF_SOCK_OPS_TCP_CONNECT_CB {
        let _ = ctx.set_cb_flags((ctx.cb_flags() | ASK_ABOUT_SEGMENTS) as i32);
    } else {
        established(ctx, original);
    }
    DONE
}

#[inline(always)]
fn established(ctx: &SockOpsContext, original: &mut Original) {
    // SAFETY: as in `follow`.
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
fn segment(ctx: &SockOpsContext, original: &mut Original) {
    if original.pending == Header::Nothing {
        return release(ctx);
    }
    // SAFETY: as in `follow`.
    let (asking, length, state) = unsafe {
        (
            (*ctx.ops).__bindgen_anon_1.args[0],
            (*ctx.ops).skb_len,
            (*ctx.ops).state,
        )
    };
    if asking == 0 && length > 0 {
        let kind = if state == BPF_TCP_SYN_SENT {
            EventKind::FastOpen
        } else {
            EventKind::EarlySend
        };
        close(ctx, original, kind);
    }
}

/// Lets go of the socket.
#[inline(always)]
fn release(ctx: &SockOpsContext) {
    let _ = ctx.set_cb_flags((ctx.cb_flags() & !ASK_ABOUT_SEGMENTS) as i32);
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

/// A full buffer loses the record; the counters do not.
#[inline(always)]
fn tell(cookie: u64, original: &Original, kind: EventKind) {
    let event = Event {
        cookie,
        address: original.address,
        port: original.port,
        kind,
        process: original.process,
    };
    let _ = EVENTS.output::<Event>(&event, 0);
}

/// Puts the header before the first bytes that are sent.
#[inline(always)]
pub fn push(ctx: &SkMsgContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    let sk: *mut bpf_sock = unsafe { (*ctx.msg).__bindgen_anon_3.sk };
    let Some(original) = original::of(sk) else {
        return SK_PASS;
    };
    // The daemon sends one byte, so that there is something to put the header before.
    let poke = original.speaker == Speaker::Server && maps::is_daemon();
    if original.pending == Header::Nothing {
        return if poke { swallow(ctx) } else { SK_PASS };
    }
    let asked = End {
        address: original.address,
        port: original.port,
    };
    let pushed = match encode(original.pending, &source(ctx), &asked) {
        Some(Bytes::Tlv4(bytes)) => put(ctx, &bytes, poke),
        Some(Bytes::Tlv6(bytes)) => put(ctx, &bytes, poke),
        Some(Bytes::Proxy4(bytes)) => put(ctx, &bytes, poke),
        Some(Bytes::Proxy6(bytes)) => put(ctx, &bytes, poke),
        None => false,
    };
    if !pushed {
        // Out of memory. The kernel keeps to this verdict: every send() on the socket fails (EACCES).
        return SK_DROP;
    }
    original.pending = Header::Nothing;
    counters::count_outcome(Outcome::HeaderSent);
    SK_PASS
}

/// Takes the message off the socket, into the daemon's own. Not by SK_DROP: the kernel keeps to that
/// verdict for what the client sends next.
#[inline(always)]
fn swallow(ctx: &SkMsgContext) -> u32 {
    PENDING.redirect_msg(ctx, SINK, BPF_F_INGRESS as u64) as u32
}

/// Puts `bytes` in front of the message, or in its place.
#[inline(always)]
fn put<const N: usize>(ctx: &SkMsgContext, bytes: &[u8; N], replace: bool) -> bool {
    if ctx.push_data(0, N as u32, 0).is_err() {
        return false;
    }
    if replace && ctx.pop_data(N as u32, 1, 0).is_err() {
        return false;
    }
    let data = ctx.data();
    if data + N > ctx.data_end() {
        return false;
    }
    let mut i = 0;
    while i < N {
        // SAFETY: within the message, as just compared. The page that was pushed is not zeroed:
        // every byte of it is written.
        unsafe { write_volatile((data as *mut u8).add(i), bytes[i]) };
        i += 1;
    }
    true
}

/// The client's own end, which a redirect does not change.
#[inline(always)]
fn source(ctx: &SkMsgContext) -> End {
    const AF_INET: u32 = 2;
    let msg = ctx.msg;
    // SAFETY: the context is valid while the program runs; word by word, as in `context`. All of
    // them before the choice: branches would be merged into one load at a computed offset.
    let (family, v4, v6, port) = unsafe {
        (
            read_volatile(addr_of!((*msg).family)),
            read_volatile(addr_of!((*msg).local_ip4)),
            [
                read_volatile(addr_of!((*msg).local_ip6[0])),
                read_volatile(addr_of!((*msg).local_ip6[1])),
                read_volatile(addr_of!((*msg).local_ip6[2])),
                read_volatile(addr_of!((*msg).local_ip6[3])),
            ],
            read_volatile(addr_of!((*msg).local_port)),
        )
    };
    End {
        address: if family == AF_INET {
            Address::from_v4_word(v4)
        } else {
            Address::from_v6_words(v6)
        },
        // Unlike other ports of contexts, this one is in host byte order.
        port: Port::new(port as u16),
    }
}
