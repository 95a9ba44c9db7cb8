//! The programs: a context in, the decision, its consequence.

#![no_std]
#![no_main]

mod context;
mod counters;
mod maps;
mod pending;

use aya_ebpf::macros::{cgroup_sock_addr, sk_msg, sock_ops};
use aya_ebpf::programs::{SkMsgContext, SockAddrContext, SockOpsContext};
use context::{Fields, PROCEED, V4, V6};
use kmesh_lite_common::{Header, Original, Speaker};
use kmesh_lite_ebpf::{Connect, Lookup, Redirect, Refuse, Verdict, decide};
use maps::{Maps, original};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect::<V4>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect::<V6>(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    getpeername::<V4>(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    getpeername::<V6>(&ctx)
}

/// Brings a header to the start of each connection that needs one.
#[sock_ops]
pub fn follow_header(ctx: SockOpsContext) -> u32 {
    pending::follow(&ctx)
}

/// Puts the header before the first bytes that are sent.
#[sk_msg]
pub fn push_header(ctx: SkMsgContext) -> u32 {
    pending::push(&ctx)
}

#[inline(always)]
fn connect<F: Fields>(ctx: &SockAddrContext) -> i32 {
    let asked = context::asked::<F>(ctx);
    let tables = Maps::now();
    match decide(&tables, &asked) {
        Verdict::Pass(pass) => {
            original::forget(ctx);
            counters::count(&Verdict::Pass(pass));
            PROCEED
        }
        Verdict::Redirect(to) => {
            let original = remember(&tables, &asked, &to);
            if original.pending != Header::Nothing && context::is_mptcp(ctx) {
                return refuse(Refuse::Header);
            }
            if !original::keep(ctx, original) {
                // Connected all the same, it would report a peer that it did not ask for.
                return refuse(Refuse::NoMemory);
            }
            context::rewrite::<F>(ctx, to.address, to.port);
            counters::count(&Verdict::Redirect(to));
            PROCEED
        }
        // What the socket remembers stays: a refused datagram socket keeps its old peer.
        Verdict::Refuse(reason) => refuse(reason),
    }
}

#[inline(always)]
fn refuse(reason: Refuse) -> i32 {
    counters::count(&Verdict::Refuse(reason));
    context::refuse(reason)
}

#[inline(always)]
fn remember(tables: &Maps, asked: &Connect, to: &Redirect) -> Original {
    let mut original = Original {
        address: asked.address,
        port: asked.port,
        pending: Header::Nothing,
        service: to.service,
        backend: to.backend,
        waypoint: to.waypoint,
        speaker: Speaker::Client,
        process: 0,
    };
    if let Some(waypoint) = to.waypoint.and_then(|id| tables.waypoint(id))
        && waypoint.header != Header::Nothing
    {
        original.pending = waypoint.header;
        original.speaker = waypoint.speaker;
        original.process = maps::process();
    }
    original
}

/// Applications see the peer that they asked for.
#[inline(always)]
fn getpeername<F: Fields>(ctx: &SockAddrContext) -> i32 {
    if let Some(original) = original::get(ctx) {
        context::rewrite::<F>(ctx, original.address, original.port);
    }
    PROCEED
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets the programs call helpers reserved to GPL-compatible ones.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
