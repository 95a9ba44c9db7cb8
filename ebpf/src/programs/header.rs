//! sk_msg: the header before the first bytes that a socket with a pending header sends.

use crate::counters;
use crate::maps::{self, PENDING, original};
use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::bindings::{BPF_F_INGRESS, bpf_sock};
use aya_ebpf::programs::SkMsgContext;
use core::ptr::{addr_of, read_volatile, write_volatile};
use kmesh_lite_common::{Address, Header, Port, SINK, Speaker};
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_ebpf::header::{Bytes, End, encode};

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
