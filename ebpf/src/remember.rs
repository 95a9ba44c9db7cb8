//! What a socket remembers of its connect, wherever that is kept: in a slot of the connection table, or
//! in the socket's own storage. The storage costs more than everything else that a connect does, so it
//! is for sockets that find no slot, for those with a pending header, and for kernels that cannot have
//! the table.

use crate::context;
use crate::counters;
use crate::maps;
use crate::original;
use crate::slots;
use crate::socket::Tcp;
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_uid_gid, bpf_get_socket_cookie,
    bpf_ktime_get_coarse_ns,
};
use aya_ebpf::programs::SockAddrContext;
use kmesh_lite_common::{Address, Connection, Port, Protocol};
use kmesh_lite_ebpf::{Connect, Outcome};

/// The cgroup of the kernel's own threads, and of programs where nothing sorts them into others.
const ROOT: u64 = 1;

/// What a socket may have kept of an earlier connect.
#[derive(Clone, Copy)]
pub struct Past {
    /// It may have a slot.
    slot: bool,
    /// It may have something in its storage.
    storage: bool,
    /// Nothing would tell of its end: it is one of the kernel's own, or may be.
    pub endless: bool,
}

/// What there can be of the socket's earlier connects. Most sockets connect once, so most of the time a
/// look at two words of the socket tells that there is nothing.
#[inline(always)]
pub fn past(ctx: &SockAddrContext, asked: &Connect) -> Past {
    if asked.protocol == Protocol::Tcp
        && let Some(socket) = Tcp::of(context::socket_of(ctx))
        && let Some(traces) = socket.past()
    {
        return Past {
            slot: traces.cookie != 0,
            storage: traces.has_storage,
            endless: traces.of_kernel,
        };
    }
    Past {
        slot: true,
        storage: true,
        // SAFETY: no arguments.
        endless: unsafe { bpf_get_current_cgroup_id() } == ROOT,
    }
}

/// Puts a connection that is sent elsewhere into the table; false where it cannot be there.
#[inline(always)]
pub fn list(ctx: &SockAddrContext, past: Past, connection: &mut Connection) -> bool {
    if !slots::exist() || past.endless {
        return false;
    }
    let cookie = cookie(ctx);
    complete(connection, cookie);
    let listed = slots::keep(cookie, connection);
    if !listed {
        counters::count_outcome(Outcome::Unlisted);
    }
    listed
}

/// Fills in who connects, and when.
#[inline(always)]
fn complete(connection: &mut Connection, cookie: u64) {
    connection.owner = cookie as u32;
    connection.process = maps::process();
    // SAFETY: no arguments.
    unsafe {
        connection.since = bpf_ktime_get_coarse_ns();
        connection.cgroup = bpf_get_current_cgroup_id();
        connection.user = bpf_get_current_uid_gid() as u32;
    }
}

/// A socket of TCP connects, so whatever it did before is over: it may have failed, or it was taken back.
#[inline(always)]
pub fn end_earlier(ctx: &SockAddrContext, past: Past, asked: &Connect) {
    if asked.protocol != Protocol::Tcp {
        return;
    }
    if past.slot {
        end::<true>(ctx);
    }
    if past.storage {
        original::end_earlier::<true>(ctx);
    }
}

/// The connection in the slot of a socket is over, if it has one.
#[inline(always)]
pub fn end<const TABLE: bool>(ctx: &SockAddrContext) {
    if TABLE
        && slots::exist()
        && let Some(slot) = slots::held(cookie(ctx))
    {
        slot.end();
    }
}

/// Makes a socket that connects elsewhere forget its first destination.
#[inline(always)]
pub fn forget<const TABLE: bool>(ctx: &SockAddrContext, past: Past) {
    if past.slot && slots::exist() {
        if let Some(slot) = slots::held(cookie(ctx)) {
            if TABLE {
                slot.end();
            }
            slot.free();
        }
    }
    forget_own::<TABLE>(ctx, past);
}

/// Makes a socket forget what it remembers by itself.
#[inline(always)]
pub fn forget_own<const TABLE: bool>(ctx: &SockAddrContext, past: Past) {
    if past.storage {
        original::forget::<TABLE>(ctx);
    }
}

/// What the application asked for when it connected the socket, if it was sent elsewhere.
#[inline(always)]
pub fn asked(ctx: &SockAddrContext) -> Option<(Address, Port)> {
    if slots::exist()
        && let Some(slot) = slots::held(cookie(ctx))
        && let Some(connection) = slot.connection()
    {
        return Some((connection.address, connection.port));
    }
    let original = original::get(ctx)?;
    Some((original.address, original.port))
}

/// SO_COOKIE of the socket.
#[inline(always)]
pub fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the context of a program that the helper takes.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}
