//! getpeername4 and getpeername6.

use crate::context::{self, Fields, PROCEED};
use crate::maps::original;
use aya_ebpf::programs::SockAddrContext;

/// Applications see the peer that they asked for.
#[inline(always)]
pub fn getpeername<F: Fields>(ctx: &SockAddrContext) -> i32 {
    if let Some(original) = original::get(ctx) {
        context::rewrite::<F>(ctx, original.address, original.port);
    }
    PROCEED
}
