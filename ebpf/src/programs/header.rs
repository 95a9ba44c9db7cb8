//! sk_msg: the header before the first bytes that a socket with a pending header sends.

use crate::counters;
use crate::events::tell;
use crate::maps::{self, PENDING};
use crate::original;
use crate::socket::Tcp;
use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::bindings::{BPF_F_INGRESS, BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED, bpf_sock};
use aya_ebpf::helpers::generated::bpf_msg_apply_bytes;
use aya_ebpf::programs::SkMsgContext;
use core::ptr::{addr_of, read_volatile, write_volatile};
use kmesh_lite_common::{Address, EventKind, Header, Original, Port, Probe, SINK, Speaker};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_ebpf::header::{Bytes, End, encode};

/// Puts the header before the first bytes that are sent.
///
/// The kernel can still refuse the send after that (MSG_FASTOPEN, no room for the accounts of
/// MSG_ZEROCOPY, TCP_REPAIR). Then it throws the message away together with the header, and what is sent
/// next does not come here first: the verdict on the message that failed is kept for it. So the header
/// is pending until it is known to have left. It leaves alone, before a mark that no other message has
/// in its place, and then this program runs again. Where the mark is missing, the header is lost. Data
/// that is about to leave while the header is pending closes the connection ([`crate::pending`]).
#[inline(always)]
pub fn push(ctx: &SkMsgContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    let sk: *mut bpf_sock = unsafe { (*ctx.msg).__bindgen_anon_3.sk };
    // The daemon sends one byte, so that there is something to put the header before.
    let poke = maps::is_daemon();
    let Some(original) = original::of(sk) else {
        return if poke { swallow(ctx) } else { SK_PASS };
    };
    if original.mark != 0 {
        return leave(ctx, Tcp::of(sk), original);
    }
    if original.pending == Header::Nothing {
        return if poke {
            swallow(ctx)
        } else {
            follow(ctx, Tcp::of(sk), original)
        };
    }
    if poke && original.speaker != Speaker::Server {
        // It was meant for an earlier connection of the socket.
        return swallow(ctx);
    }
    if !stands(sk) {
        // A call that holds the socket in this program's care since an earlier connection. As of any
        // send that began too early, none of it leaves.
        return SK_PASS;
    }
    let socket = Tcp::of(sk);
    if socket.is_some_and(Tcp::has_upper_layer) {
        return fail(original, EventKind::Encrypted);
    }
    let ids = socket.and_then(Tcp::zero_copy_ids);
    if ids.is_none() && !poke && socket.is_some_and(Tcp::may_send_zero_copy) {
        // Sends with the flag use up no number at all.
        return fail(original, EventKind::ZeroCopy);
    }
    let asked = End {
        address: original.address,
        port: original.port,
    };
    let mark = maps::mark();
    let (pushed, length) = match encode(original.pending, &source(ctx), &asked) {
        Some(Bytes::Tlv4(bytes)) => (put(ctx, &bytes, mark, poke), bytes.len()),
        Some(Bytes::Tlv6(bytes)) => (put(ctx, &bytes, mark, poke), bytes.len()),
        Some(Bytes::Proxy4(bytes)) => (put(ctx, &bytes, mark, poke), bytes.len()),
        Some(Bytes::Proxy6(bytes)) => (put(ctx, &bytes, mark, poke), bytes.len()),
        None => (false, 0),
    };
    if !pushed {
        // Out of memory. The kernel keeps to this verdict: every send() on the socket fails (EACCES).
        return SK_DROP;
    }
    original.mark = mark;
    original.header = length as u16;
    original.ids = ids.unwrap_or(0);
    // As of any part of a message, the kernel waits for the rest before it makes a segment. In one of its
    // own the header would hold up what follows (Nagle) until a server that waits for more acknowledges
    // it, which takes the server 40 ms.
    apply_to(ctx, before_mark(length, poke) as u32);
    SK_PASS
}

/// The header has left the message that brought it, and the rest of that message is here; or the kernel
/// refused that message, and this is another.
#[inline(always)]
fn leave(ctx: &SkMsgContext, socket: Option<Tcp>, original: &mut Original) -> u32 {
    if !take_mark(ctx, original.mark) {
        // What may be in the queue by now is none either.
        original.header = 0;
        return SK_DROP;
    }
    original.mark = 0;
    // The message still has the limit of the header.
    apply_to(ctx, 0);
    if original.pending == Header::Nothing {
        // The connection was closed meanwhile, or could not be. The mark is no part of the stream either way.
        return SK_PASS;
    }
    original.pending = Header::Nothing;
    counters::count_outcome(Outcome::HeaderSent);
    let ids = socket.and_then(Tcp::zero_copy_ids);
    if ids.is_some_and(|ids| ids != original.ids) {
        return fail(original, EventKind::ZeroCopy);
    }
    SK_PASS
}

/// Whether the kernel would take data for the connection.
#[inline(always)]
fn stands(sk: *mut bpf_sock) -> bool {
    // SAFETY: the socket of the context, which lives while the program runs.
    let state = unsafe { read_volatile(addr_of!((*sk).state)) };
    state == BPF_TCP_ESTABLISHED || state == BPF_TCP_CLOSE_WAIT
}

/// Lets a message leave from a socket that may send without a copy: one byte of it, if it has several
/// pieces, and then this program runs again.
///
/// For each send() with MSG_ZEROCOPY the program is told later, by its number, that its buffer is free.
/// In the kernel's code for sockets of a socket map each piece of a message uses up a number, so that a
/// message of several pieces shifts those that follow, and buffers would be used again too early.
/// Whether a send() has the flag is not to be seen. So a little of it leaves alone, the header of the
/// first message and one byte of any other: if a number is gone by then, the rest never leaves.
#[inline(always)]
fn probe(ctx: &SkMsgContext, original: &mut Original, ids: u32) -> u32 {
    if !is_one_piece(ctx) {
        original.ids = ids;
        original.sender = maps::thread();
        original.probe = Probe::Sent;
        apply_to(ctx, 1);
    }
    SK_PASS
}

/// Lets a message leave that comes after the header: the rest of what is probed, a send() of another
/// thread that began before the header was out, or one that begins while another thread waits in a
/// recv() that did. Later ones do not come here.
#[inline(always)]
fn follow(ctx: &SkMsgContext, socket: Option<Tcp>, original: &mut Original) -> u32 {
    let Some(socket) = socket.filter(|socket| socket.may_send_zero_copy()) else {
        return SK_PASS;
    };
    // The message still has the limit of its probe.
    apply_to(ctx, 0);
    let Some(ids) = socket.zero_copy_ids() else {
        return fail(original, EventKind::ZeroCopy);
    };
    if original.probe == Probe::Sent && original.sender == maps::thread() {
        if ids != original.ids {
            return fail(original, EventKind::ZeroCopy);
        }
        original.probe = Probe::Idle;
        return SK_PASS;
    }
    probe(ctx, original, ids)
}

/// Makes the verdict count for so many bytes of the message, after which the program runs again; 0 is
/// all of it.
#[inline(always)]
fn apply_to(ctx: &SkMsgContext, bytes: u32) {
    // SAFETY: the context is valid while the program runs.
    unsafe { bpf_msg_apply_bytes(ctx.msg, bytes) };
}

#[inline(always)]
fn is_one_piece(ctx: &SkMsgContext) -> bool {
    ctx.data_end() - ctx.data() >= ctx.size() as usize
}

/// Makes this send() fail, and each that follows: the kernel keeps to this verdict (EACCES).
#[inline(always)]
fn fail(original: &Original, kind: EventKind) -> u32 {
    counters::count_outcome(if kind == EventKind::ZeroCopy {
        Outcome::RefuseZeroCopy
    } else {
        Outcome::RefuseEncrypted
    });
    tell(0, original, kind);
    SK_DROP
}

/// Takes the message off the socket, into the daemon's own. Not by SK_DROP: the kernel keeps to that
/// verdict for what the client sends next.
#[inline(always)]
fn swallow(ctx: &SkMsgContext) -> u32 {
    PENDING.redirect_msg(ctx, SINK, BPF_F_INGRESS as u64) as u32
}

const MARK: usize = size_of::<u32>();

/// How much of a header of this length leaves before the mark. If nothing is to follow it, its last byte
/// does: a message that is empty after the mark would not make the kernel send what leaves before.
#[inline(always)]
fn before_mark(length: usize, alone: bool) -> usize {
    if alone { length - 1 } else { length }
}

/// Puts `bytes` with a mark in front of the message, or in its place.
#[inline(always)]
fn put<const N: usize>(ctx: &SkMsgContext, bytes: &[u8; N], mark: u32, replace: bool) -> bool {
    if ctx.push_data(0, (N + MARK) as u32, 0).is_err() {
        return false;
    }
    if replace && ctx.pop_data((N + MARK) as u32, 1, 0).is_err() {
        return false;
    }
    let data = ctx.data();
    if data + N + MARK > ctx.data_end() {
        return false;
    }
    let data = data as *mut u8;
    let mark = mark.to_ne_bytes();
    // SAFETY: within the message, as just compared. The page that was pushed is not zeroed: every byte
    // of it is written.
    unsafe {
        let mut i = 0;
        while i < N - 1 {
            write_volatile(data.add(i), bytes[i]);
            i += 1;
        }
        let (last, first) = if replace {
            (N - 1 + MARK, N - 1)
        } else {
            (N - 1, N)
        };
        write_volatile(data.add(last), bytes[N - 1]);
        let mut i = 0;
        while i < MARK {
            write_volatile(data.add(first + i), mark[i]);
            i += 1;
        }
    }
    true
}

/// Takes the mark off the message; false if it has none.
#[inline(always)]
fn take_mark(ctx: &SkMsgContext, mark: u32) -> bool {
    let data = ctx.data();
    if data + MARK > ctx.data_end() {
        return false;
    }
    let mark = mark.to_ne_bytes();
    let mut i = 0;
    while i < MARK {
        // SAFETY: within the message, as just compared.
        if unsafe { read_volatile((data as *const u8).add(i)) } != mark[i] {
            return false;
        }
        i += 1;
    }
    ctx.pop_data(0, MARK as u32, 0).is_ok()
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
