//! Reading and rewriting the address in a socket context.

use crate::socket;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::{bpf_set_retval, bpf_skc_to_mptcp_sock};
use aya_ebpf::programs::SockAddrContext;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{Address, Family, Port, Protocol};
use kmesh_lite_ebpf::{Connect, Refuse};

/// Set by the loader where the kernel lets these hooks choose the error of `connect()` (6.1 and
/// newer); without it an application sees EPERM.
#[used]
#[unsafe(no_mangle)]
static CHOOSE_ERRNO: u8 = 1;

/// Cleared by the loader where the kernel cannot tell sockets of MPTCP from others.
#[used]
#[unsafe(no_mangle)]
static KNOW_MPTCP: u8 = 1;

/// Let the call go on.
pub const PROCEED: i32 = 1;
/// Make the call fail.
pub const REJECT: i32 = 0;

/// Which fields of the context hold the address.
pub trait Fields {
    /// Whether the hook is one of IPv4 sockets.
    const IS_V4: bool;

    fn address(ctx: &SockAddrContext) -> Address;
    fn set_address(ctx: &SockAddrContext, address: Address);
    /// Where the socket is connected to.
    fn peer(sk: *const bpf_sock) -> Address;
}

/// Hooks of IPv4 sockets.
pub struct V4;
/// Hooks of IPv6 sockets, which may hold mapped IPv4 addresses.
pub struct V6;

impl Fields for V4 {
    const IS_V4: bool = true;

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

    #[inline(always)]
    fn peer(sk: *const bpf_sock) -> Address {
        // SAFETY: a socket that the hook holds; the verifier checks the access.
        Address::from_v4_word(unsafe { read_volatile(addr_of!((*sk).dst_ip4)) })
    }
}

impl Fields for V6 {
    const IS_V4: bool = false;

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

    #[inline(always)]
    fn peer(sk: *const bpf_sock) -> Address {
        // SAFETY: as for IPv4.
        Address::from_v6_words(unsafe {
            [
                read_volatile(addr_of!((*sk).dst_ip6[0])),
                read_volatile(addr_of!((*sk).dst_ip6[1])),
                read_volatile(addr_of!((*sk).dst_ip6[2])),
                read_volatile(addr_of!((*sk).dst_ip6[3])),
            ]
        })
    }
}

/// What the program asked for.
#[inline(always)]
pub fn asked<F: Fields>(ctx: &SockAddrContext) -> Connect {
    // SAFETY: as for addresses. The port is a 32-bit field with the port, in network byte order, in
    // its first two bytes.
    let (port, protocol) = unsafe { ((*ctx.sock_addr).user_port, (*ctx.sock_addr).protocol) };
    Connect {
        address: meant(ctx, F::address(ctx)),
        port: Port::from_be(port as u16),
        protocol: Protocol(protocol as u8),
    }
}

/// Where a call goes that names this address. One to the address that stands for none would go past everything that is said of this
/// host's own: the kernel finds out only after us whom it means (ip_route_output_key_hash_rcu() of net/ipv4/route.c and
/// tcp_v6_connect() of net/ipv6/tcp_ipv6.c).
#[inline(always)]
fn meant(ctx: &SockAddrContext, address: Address) -> Address {
    if !address.stands_for_none() {
        return address;
    }
    let is_v4 = |it: &Address| it.family() == Family::V4;
    match (address.family(), bound_to(ctx).filter(is_v4)) {
        (Family::V4, Some(own)) => own,
        (Family::V6, None) => Address::loopback(Family::V6),
        (Family::V4, None) | (Family::V6, Some(_)) => Address::loopback(Family::V4),
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

/// Whether a datagram is from where its socket is connected to.
#[inline(always)]
pub fn is_from_peer<F: Fields>(ctx: &SockAddrContext) -> bool {
    let sk = socket_of(ctx);
    // SAFETY: the hooks we attach to always have a socket. Ports as in `asked`; that of the socket is a
    // field of 16 bits.
    let (from, peer) = unsafe {
        (
            (*ctx.sock_addr).user_port as u16,
            read_volatile(addr_of!((*sk).dst_port).cast::<u16>()),
        )
    };
    from == peer && F::address(ctx) == F::peer(sk)
}

/// The socket of the call; the hooks we attach to always have one.
#[inline(always)]
pub fn socket_of(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}

/// The address that the socket is bound to, if it is bound to one.
#[inline(always)]
pub fn bound_to(ctx: &SockAddrContext) -> Option<Address> {
    const AF_INET: u32 = 2;
    let sk = socket_of(ctx);
    // SAFETY: as in `asked`.
    let address = if unsafe { (*ctx.sock_addr).family } == AF_INET {
        // SAFETY: as in `Fields::peer`.
        match unsafe { read_volatile(addr_of!((*sk).src_ip4)) } {
            0 => return None,
            word => Address::from_v4_word(word),
        }
    } else {
        source_v6(sk)
    };
    (!address.is_unspecified()).then_some(address)
}

#[inline(always)]
fn source_v6(sk: *const bpf_sock) -> Address {
    // SAFETY: as in `Fields::peer`.
    Address::from_v6_words(unsafe {
        [
            read_volatile(addr_of!((*sk).src_ip6[0])),
            read_volatile(addr_of!((*sk).src_ip6[1])),
            read_volatile(addr_of!((*sk).src_ip6[2])),
            read_volatile(addr_of!((*sk).src_ip6[3])),
        ]
    })
}

/// Whether the socket reaches IPv6 addresses alone: IPV6_V6ONLY was set, or it is bound to one.
#[inline(always)]
pub fn is_for_v6_alone(ctx: &SockAddrContext) -> bool {
    let sk = socket_of(ctx);
    // SAFETY: as in `asked`.
    let is_tcp = Protocol(unsafe { (*ctx.sock_addr).protocol } as u8) == Protocol::Tcp;
    if socket::is_only_v6(sk, is_tcp) {
        return true;
    }
    // A datagram socket that connected before has a source address of that time, and can still have
    // another.
    if !is_tcp {
        return false;
    }
    let source = source_v6(sk);
    source.family() == Family::V6 && !source.is_unspecified()
}

/// Makes `connect()` fail with the error that fits a refusal of this number.
#[inline(always)]
pub fn refuse(number: u64) -> i32 {
    // SAFETY: a read-only word of this program. Volatile: the loader may have set it.
    if unsafe { read_volatile(addr_of!(CHOOSE_ERRNO)) } == 1 {
        // SAFETY: sets the return value of the running hook.
        unsafe { bpf_set_retval(-Refuse::errno_of(number)) };
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
    // SAFETY: a socket that the hook holds. Nothing is read through what it answers.
    !unsafe { bpf_skc_to_mptcp_sock(socket_of(ctx).cast()) }.is_null()
}
