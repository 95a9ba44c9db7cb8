//! What a socket remembers by itself, in its own storage in the kernel: where it wanted to go while a
//! header is pending, or where the connection table has no slot for it.

use crate::atomic::add_bits;
use crate::context;
use crate::open;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use core::ptr::{addr_of, addr_of_mut, null_mut};
use kmesh_lite_common::{Original, Stage};

#[btf_map]
static ORIGINALS: SkStorage<Original> = SkStorage::new();

/// Keeps `original` for the socket; false when the kernel has no memory for it. It is made where it is kept: the stack
/// of a connect has no room for it.
#[inline(always)]
pub fn keep<const TABLE: bool>(ctx: &SockAddrContext, original: impl FnOnce() -> Original) -> bool {
    if TABLE {
        end_original(ctx.sock_addr);
    }
    // SAFETY: the hooks we attach to always have a socket.
    let kept = unsafe { ORIGINALS.get_or_insert_ptr_mut(ctx, None) };
    if kept.is_null() {
        return false;
    }
    // SAFETY: storage of this socket. A socket that connects again has an older original here.
    unsafe { kept.write(original()) };
    true
}

/// What the socket remembers.
#[inline(always)]
pub fn get(ctx: &SockAddrContext) -> Option<Original> {
    // SAFETY: as in `keep`.
    let kept = unsafe { ORIGINALS.get_ptr_mut(ctx) };
    // SAFETY: checked for null; the storage lives as long as the socket.
    (!kept.is_null()).then(|| unsafe { *kept })
}

/// Makes a socket that connects again forget its first destination.
#[inline(always)]
pub fn forget<const TABLE: bool>(ctx: &SockAddrContext) {
    if TABLE {
        end_original(ctx.sock_addr);
    }
    // SAFETY: as in `keep`.
    if unsafe { ORIGINALS.get_ptr_mut(ctx) }.is_null() {
        return;
    }
    // SAFETY: a socket of the hook. It can only fail if the storage is gone already.
    let _ = unsafe { ORIGINALS.delete(context::socket_of(ctx)) };
}

/// An earlier connection of the socket is over, if it has one; as a function that the verifier looks at once.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn end_original(ctx: *mut bpf_sock_addr) -> u64 {
    // SAFETY: as in `keep`.
    let kept = unsafe { ORIGINALS.get_ptr_mut(&SockAddrContext::new(ctx)) };
    // SAFETY: checked for null; the storage lives as long as the socket, whose lock the hook holds.
    if let Some(original) = unsafe { kept.as_mut() } {
        let before = enter(original, Stage::CLOSED);
        over(original, before);
    }
    0
}

/// Notes a stage. Gives those that there were, in one step for all processors: the end of TCP and the end of the
/// socket come at the same time.
#[inline(always)]
pub fn enter(original: &mut Original, stage: Stage) -> Stage {
    // SAFETY: an aligned word of the storage, which ends with the stage.
    let word = unsafe { addr_of_mut!((*(original as *mut Original)).endpoint).cast::<u64>() };
    Original::stage_of_word(add_bits(word, Original::stage_in_word(stage)))
}

/// The connection is over that had these stages before.
#[inline(always)]
pub fn over(original: &Original, before: Stage) {
    let terms = (original.endpoint_term, original.service_term);
    open::over(before, original.endpoint, original.service, Some(terms));
}

/// What the socket of another kind of hook remembers; `sk` may be null.
#[inline(always)]
pub fn of(sk: *mut bpf_sock) -> Option<&'static mut Original> {
    if sk.is_null() {
        return None;
    }
    let map = addr_of!(ORIGINALS).cast_mut();
    // SAFETY: a socket that the hook holds.
    let kept = unsafe { bpf_sk_storage_get(map.cast(), sk.cast(), null_mut(), 0) };
    // SAFETY: null or storage that lives as long as the socket, whose lock the hooks hold.
    unsafe { kept.cast::<Original>().as_mut() }
}
