//! Reading and rewriting the address in a socket context.

use aya_ebpf::helpers::generated::{bpf_set_retval, bpf_skc_to_mptcp_sock};
use aya_ebpf::programs::SockAddrContext;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{Address, Port, Protocol};
use kmesh_lite_ebpf::{Connect, Refuse};

/// Set by the loader where the kernel lets these hooks choose the error of `connect()` (6.1 and
/// newer); without it an application sees EPERM.
#[unsafe(no_mangle)]
static CHOOSE_ERRNO: u8 = 1;

/// Cleared by the loader where the kernel cannot tell sockets of MPTCP from others.
#[unsafe(no_mangle)]
static KNOW_MPTCP: u8 = 1;

/// Let the call go on.
pub const PROCEED: i32 = 1;
/// Make the call fail.
pub const REJECT: i32 = 0;

/// Which fields of the context hold the address.
pub trait Fields {
    fn address(ctx: &SockAddrContext) -> Address;
    fn set_address(ctx: &SockAddrContext, address: Address);
}

/// Hooks of IPv4 sockets.
pub struct V4;
/// Hooks of IPv6 sockets, which may hold mapped IPv4 addresses.
pub struct V6;

impl Fields for V4 {
    #[inline(always)]
    fn address(ctx: &SockAddrContext) -> Address {
        // SAFETY: the context is valid while the program runs; the verifier checks the access.
        Address::from_v4_word(unsafe { (*ctx.sock_addr).user_ip4 })
    }

    #[inline(always)]
    fn set_address(ctx: &SockAddrContext, address: Address) {
        // SAFETY: as above. Volatile keeps it one store of the width that the verifier allows.
        unsafe { write_volatile(addr_of_mut!((*ctx.sock_addr).user_ip4), address.words()[3]) }
    }
}

impl Fields for V6 {
    #[inline(always)]
    fn address(ctx: &SockAddrContext) -> Address {
        // SAFETY: as for IPv4; word by word, because the verifier refuses to see the context
        // pointer moved.
        Address::from_v6_words(unsafe {
            [
                read_volatile(addr_of!((*ctx.sock_addr).user_ip6[0])),
                read_volatile(addr_of!((*ctx.sock_addr).user_ip6[1])),
                read_volatile(addr_of!((*ctx.sock_addr).user_ip6[2])),
                read_volatile(addr_of!((*ctx.sock_addr).user_ip6[3])),
            ]
        })
    }

    #[inline(always)]
    fn set_address(ctx: &SockAddrContext, address: Address) {
        let [a, b, c, d] = address.words();
        // SAFETY: as above.
        unsafe {
            write_volatile(addr_of_mut!((*ctx.sock_addr).user_ip6[0]), a);
            write_volatile(addr_of_mut!((*ctx.sock_addr).user_ip6[1]), b);
            write_volatile(addr_of_mut!((*ctx.sock_addr).user_ip6[2]), c);
            write_volatile(addr_of_mut!((*ctx.sock_addr).user_ip6[3]), d);
        }
    }
}

/// What the program asked for.
#[inline(always)]
pub fn asked<F: Fields>(ctx: &SockAddrContext) -> Connect {
    // SAFETY: as for addresses. The port is a 32-bit field with the port, in network byte order, in
    // its first two bytes.
    let (port, protocol) = unsafe { ((*ctx.sock_addr).user_port, (*ctx.sock_addr).protocol) };
    Connect {
        address: F::address(ctx),
        port: Port::from_be(port as u16),
        protocol: Protocol(protocol as u8),
    }
}

/// Rewrites the address and port of the context.
#[inline(always)]
pub fn rewrite<F: Fields>(ctx: &SockAddrContext, address: Address, port: Port) {
    F::set_address(ctx, address);
    // SAFETY: as above.
    unsafe {
        write_volatile(
            addr_of_mut!((*ctx.sock_addr).user_port),
            port.to_be() as u32,
        )
    }
}

/// Makes `connect()` fail with the error that fits.
#[inline(always)]
pub fn refuse(refuse: Refuse) -> i32 {
    // SAFETY: a read-only word of this program. Volatile: the loader may have set it.
    if unsafe { read_volatile(addr_of!(CHOOSE_ERRNO)) } == 1 {
        // SAFETY: sets the return value of the running hook.
        unsafe { bpf_set_retval(-refuse.errno()) };
    }
    REJECT
}

/// Whether the socket is a subflow of MPTCP: to these hooks it looks like one of TCP.
#[inline(always)]
pub fn is_mptcp(ctx: &SockAddrContext) -> bool {
    // SAFETY: as for `CHOOSE_ERRNO`.
    if unsafe { read_volatile(addr_of!(KNOW_MPTCP)) } != 1 {
        return false;
    }
    // SAFETY: the hooks we attach to always have a socket.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    // SAFETY: as above. Nothing is read through what it answers.
    !unsafe { bpf_skc_to_mptcp_sock(sk.cast()) }.is_null()
}
