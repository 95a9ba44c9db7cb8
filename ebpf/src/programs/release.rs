//! sock_release: a program lets go of a socket.

use crate::life;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SockContext;

/// Let it go on.
const PROCEED: i32 = 1;

/// The last descriptor of a socket is closed, in whichever way and by whichever process. TCP may go on
/// for a while, but nobody can ask for the peer any more.
#[inline(always)]
pub fn released<const TABLE: bool>(ctx: &SockContext) -> i32 {
    // SAFETY: the context of a program that the helper takes.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.sock.cast()) };
    life::released::<TABLE>(ctx, cookie);
    PROCEED
}
