//! recvmsg4 and recvmsg6: where a datagram came from.

use crate::context::{self, Fields, PROCEED};
use crate::remember;
use aya_ebpf::programs::SockAddrContext;

/// A connected datagram socket gets datagrams of its peer alone, and applications see the peer that
/// they asked for. What had come before the socket was connected may be from anybody.
#[inline(always)]
pub fn received<F: Fields>(ctx: &SockAddrContext) -> i32 {
    if let Some((address, port)) = remember::asked(ctx)
        && context::is_from_peer::<F>(ctx)
    {
        context::rewrite::<F>(ctx, address, port);
    }
    PROCEED
}
