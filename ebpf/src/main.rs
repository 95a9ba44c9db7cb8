//! The programs, each a name for the kernel.

#![no_std]
#![no_main]
// The processor is experimental for inline assembly.
#![feature(asm_experimental_arch)]

mod arrival;
mod arrivals;
mod atomic;
mod authorize;
mod blank;
mod callers;
mod clients;
mod consequence;
mod context;
mod counters;
mod events;
mod flows;
mod life;
mod maps;
mod moments;
mod open;
mod original;
mod pending;
mod queries;
mod reading;
mod remember;
mod search;
mod slots;
mod socket;
mod traffic;
/// What the programs do.
mod programs {
    pub mod connect;
    pub mod connections;
    pub mod datagram;
    pub mod getpeername;
    pub mod header;
    pub mod inbound;
    pub mod release;
    pub mod send;
    pub mod sweep;
}

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, sk_lookup, sk_msg, sock_ops};
use aya_ebpf::programs::{
    SkLookupContext, SkMsgContext, SockAddrContext, SockContext, SockOpsContext,
};
use context::{V4, V6};
use programs::connect::connect;
use programs::datagram::received;
use programs::getpeername::getpeername;
use programs::send::sends;

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect::<V4, true>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect::<V6, true>(&ctx)
}

/// [`connect4`] for kernels without the instruction by which a slot is taken (before 5.12): they refuse
/// a program that has it, even where it is never reached.
#[cgroup_sock_addr(connect4)]
pub fn connect4_plain(ctx: SockAddrContext) -> i32 {
    connect::<V4, false>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6_plain(ctx: SockAddrContext) -> i32 {
    connect::<V6, false>(&ctx)
}

#[cgroup_sock(sock_release)]
pub fn released(ctx: SockContext) -> i32 {
    programs::release::released::<true>(&ctx)
}

/// [`released`] for kernels where [`connect4_plain`] is needed.
#[cgroup_sock(sock_release)]
pub fn released_plain(ctx: SockContext) -> i32 {
    programs::release::released::<false>(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    getpeername::<V4>(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    getpeername::<V6>(&ctx)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    received::<V4>(&ctx)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    received::<V6>(&ctx)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sends::<V4>(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sends::<V6>(&ctx)
}

/// Judges what arrives in a network namespace, before any socket sees it.
#[sk_lookup]
pub fn inbound(ctx: SkLookupContext) -> u32 {
    programs::inbound::inbound(&ctx)
}

/// Follows the connections of a cgroup.
#[sock_ops]
pub fn connections(ctx: SockOpsContext) -> u32 {
    programs::connections::follow::<true>(&ctx)
}

/// [`connections`] for kernels where [`connect4_plain`] is needed.
#[sock_ops]
pub fn connections_plain(ctx: SockOpsContext) -> u32 {
    programs::connections::follow::<false>(&ctx)
}

/// Puts the header before the first bytes that are sent.
#[sk_msg]
pub fn push_header(ctx: SkMsgContext) -> u32 {
    programs::header::push(&ctx)
}

/// Looks at every open file, for what living connections have done.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub fn sweep(ctx: *mut core::ffi::c_void) -> u32 {
    programs::sweep::look(ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets the programs call helpers reserved to GPL-compatible ones.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
