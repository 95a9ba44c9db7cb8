//! What a socket remembers of its connect, wherever that is kept: in a slot of the connection table, or
//! in the socket's own storage. The storage costs more than everything else that a connect does, so it
//! is for sockets that find no slot, for those with a pending header, and for kernels that cannot have
//! the table.

use crate::blank::blurred;
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

/// What a socket may have kept of an earlier connect: a set of bits.
#[derive(Clone, Copy)]
pub struct Past(u32);

impl Past {
    /// It may have a slot.
    const SLOT: u32 = 1;
    /// It may have something in its storage.
    const STORAGE: u32 = 2;
    /// Nothing would tell of its end: it is one of the kernel's own, or may be.
    const ENDLESS: u32 = 4;

    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    fn has_slot(self) -> bool {
        self.0 & Self::SLOT != 0
    }

    #[inline(always)]
    fn has_storage(self) -> bool {
        self.0 & Self::STORAGE != 0
    }

    #[inline(always)]
    pub fn is_endless(self) -> bool {
        self.0 & Self::ENDLESS != 0
    }
}

/// What there can be of the socket's earlier connects. Most sockets connect once, so most of the time a
/// look at two words of the socket tells that there is nothing.
#[inline(always)]
pub fn past(ctx: &SockAddrContext, asked: &Connect) -> Past {
    let mut bits = 0;
    let mut has = |bit, has| {
        if has {
            bits |= bit;
        }
    };
    if asked.protocol == Protocol::Tcp
        && let Some(socket) = Tcp::of(context::socket_of(ctx))
        && let Some(traces) = socket.past()
    {
        has(Past::SLOT, traces.cookie != 0);
        has(Past::STORAGE, traces.has_storage);
        has(Past::ENDLESS, traces.of_kernel);
    } else {
        // SAFETY: no arguments.
        let is_in_root = unsafe { bpf_get_current_cgroup_id() } == ROOT;
        has(Past::SLOT | Past::STORAGE, true);
        has(Past::ENDLESS, is_in_root);
    }
    Past(blurred(bits.into()) as u32)
}

/// Puts a connection that is sent elsewhere into the table; false where it cannot be there.
#[inline(always)]
pub fn list(ctx: &SockAddrContext, past: Past, connection: impl FnOnce() -> Connection) -> bool {
    if !slots::exist() || past.is_endless() {
        return false;
    }
    let cookie = cookie(ctx);
    let listed = slots::keep(cookie, || complete(connection(), cookie));
    if !listed {
        counters::count_outcome(Outcome::Unlisted);
    }
    listed
}

/// Fills in who connects, and when.
#[inline(always)]
fn complete(connection: Connection, cookie: u64) -> Connection {
    // SAFETY: no arguments.
    let (since, cgroup, user) = unsafe {
        (
            bpf_ktime_get_coarse_ns(),
            bpf_get_current_cgroup_id(),
            bpf_get_current_uid_gid() as u32,
        )
    };
    Connection {
        since,
        cgroup,
        process: maps::process(),
        user,
        owner: cookie as u32,
        ..connection
    }
}

/// A socket of TCP connects, so whatever it did before is over: it may have failed, or it was taken back.
#[inline(always)]
pub fn end_earlier(ctx: &SockAddrContext, past: Past, asked: &Connect) {
    if asked.protocol != Protocol::Tcp {
        return;
    }
    if past.has_slot() {
        end::<true>(ctx);
    }
    if past.has_storage() {
        original::end_original(ctx.sock_addr);
    }
}

/// The connection in the slot of a socket is over, if it has one.
#[inline(always)]
pub fn end<const TABLE: bool>(ctx: &SockAddrContext) {
    if TABLE && slots::exist() {
        slots::end_slot(cookie(ctx));
    }
}

/// Makes a socket that connects elsewhere forget its first destination.
#[inline(always)]
pub fn forget<const TABLE: bool>(ctx: &SockAddrContext, past: Past) {
    if TABLE && past.has_slot() && slots::exist() {
        slots::forget_slot(cookie(ctx));
    }
    forget_own::<TABLE>(ctx, past);
}

/// Makes a socket forget what it remembers by itself.
#[inline(always)]
pub fn forget_own<const TABLE: bool>(ctx: &SockAddrContext, past: Past) {
    if past.has_storage() {
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
