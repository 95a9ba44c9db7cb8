//! getpeername4 and getpeername6.

use crate::context::{self, Fields, PROCEED};
use crate::remember;
use aya_ebpf::programs::SockAddrContext;

/// Applications see the peer that they asked for.
#[inline(always)]
pub fn getpeername<F: Fields>(ctx: &SockAddrContext) -> i32 {
    if let Some((address, port)) = remember::asked(ctx) {
        context::rewrite::<F>(ctx, address, port);
    }
    PROCEED
}
