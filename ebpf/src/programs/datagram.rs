//! recvmsg4 and recvmsg6: where a datagram came from.

use crate::context::{self, Fields, PROCEED};
use crate::flows;
use crate::remember;
use aya_ebpf::programs::SockAddrContext;

/// A connected datagram socket gets datagrams of its peer alone, and applications see the peer that
/// they asked for. What comes from somebody else is an answer to what the socket sent without being connected, or it came
/// before it was: then it is whose it is.
#[inline(always)]
pub fn received<F: Fields>(ctx: &SockAddrContext) -> i32 {
    let asked = if context::is_from_peer::<F>(ctx) {
        remember::asked(ctx)
    } else {
        let from = context::asked::<F>(ctx);
        flows::asked(remember::cookie(ctx), from.address, from.port)
    };
    if let Some((address, port)) = asked {
        context::rewrite::<F>(ctx, address, port);
    }
    PROCEED
}
