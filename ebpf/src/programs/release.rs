//! sock_release: a program lets go of a socket.

use crate::remember;
use aya_ebpf::programs::SockContext;

/// Let it go on.
const PROCEED: i32 = 1;

/// The last descriptor of a socket is closed, in whichever way and by whichever process. TCP may go on
/// for a while, but nobody can ask for the peer any more.
#[inline(always)]
pub fn released(ctx: &SockContext) -> i32 {
    remember::end(ctx.sock);
    PROCEED
}
