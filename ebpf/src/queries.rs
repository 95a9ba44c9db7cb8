//! Questions to DNS servers: whether the agent answers them in place of the server.
//!
//! All that has to be so is looked at for each question. So nobody has to do anything for questions to go where they are
//! sent when the agent, the daemon, or both are gone or hang.

use crate::context;
use aya_ebpf::bindings::bpf_sock_tuple;
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_netns_cookie, bpf_ktime_get_ns, bpf_sk_lookup_udp,
    bpf_sk_release, bpf_skc_lookup_tcp,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::SockAddrContext;
use core::ptr::{addr_of, addr_of_mut, null_mut, read_volatile};
use kmesh_lite_common::{Address, Asker, Nameserver, Port, Protocol};

#[map]
static NAMESERVER: Array<Nameserver> = Array::with_max_entries(1, 0);
/// By the ids of cgroups.
#[map]
static ASKERS: HashMap<u64, Asker> = HashMap::with_max_entries(1024, 0);

/// That of the socket of the context.
const OWN_NAMESPACE: u64 = u64::MAX;
const IPV4_TUPLE: u32 = 12;
const IPV6_TUPLE: u32 = 36;

#[inline(always)]
pub fn nameserver() -> Option<&'static Nameserver> {
    NAMESERVER.get(0)
}

/// Whether the agent answers this caller: it was heard of lately, and listens at this address in the network namespace of the
/// socket; the caller is no resolver, which the agent may ask; and the socket is not bound to an interface, by which nothing
/// gets to the agent.
#[inline(always)]
pub fn answers(ctx: &SockAddrContext, address: Address, port: Port, protocol: Protocol) -> bool {
    let Some(row) = NAMESERVER.get_ptr(0) else {
        return false;
    };
    // SAFETY: inside the row. Volatile: the daemon may be changing it.
    let (heartbeat, namespace, levels, listed) = unsafe {
        (
            read_volatile(addr_of!((*row).heartbeat)),
            read_volatile(addr_of!((*row).namespace)),
            read_volatile(addr_of!((*row).levels)),
            read_volatile(addr_of!((*row).listed)),
        )
    };
    // SAFETY: no arguments.
    if !Nameserver::is_fresh(heartbeat, unsafe { bpf_ktime_get_ns() }) || !is_in(ctx, namespace) {
        return false;
    }
    // SAFETY: a socket that the hook holds; the verifier checks the access.
    if unsafe { read_volatile(addr_of!((*context::socket_of(ctx)).bound_dev_if)) } != 0 {
        return false;
    }
    is_captured(levels.into(), listed.into()) != 0 && has_listener(ctx, &address, port, protocol)
}

/// Whether the socket is in this network namespace.
#[inline(always)]
fn is_in(ctx: &SockAddrContext, namespace: u64) -> bool {
    // SAFETY: the context of this program; without one it is the first namespace that is meant.
    let own = unsafe { bpf_get_netns_cookie(ctx.sock_addr.cast()) };
    match namespace {
        // SAFETY: as above.
        0 => own == unsafe { bpf_get_netns_cookie(null_mut()) },
        namespace => own == namespace,
    }
}

/// 1 where questions of the process are captured: none of its cgroups is left alone, and one is named if only those that are
/// `listed` count. A function of its own for the verifier, as those of the search are.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn is_captured(levels: u64, listed: u64) -> u64 {
    let mut named = u64::from(listed == 0);
    let mut level = 0;
    while level < 32 {
        if levels >> level & 1 == 1 {
            // SAFETY: answers 0 where there is no ancestor at this depth; no cgroup has id 0.
            let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
            // SAFETY: an element that becomes that of another cgroup misjudges one question.
            match unsafe { ASKERS.get(cgroup) } {
                Some(asker) if *asker == Asker::LeftAlone => return 0,
                Some(_) => named = 1,
                None => {}
            }
        }
        level += 1;
    }
    named
}

/// Whether somebody listens there, in the network namespace of the socket.
#[inline(never)]
fn has_listener(ctx: &SockAddrContext, address: &Address, port: Port, protocol: Protocol) -> bool {
    let mut tuple = [0_u32; 9];
    let words = address.words();
    // Behind both addresses stand both ports.
    let [high, low] = port.to_be().to_ne_bytes();
    let ports = u32::from_ne_bytes([0, 0, high, low]);
    let size = match address.v4_word() {
        Some(word) => {
            (tuple[1], tuple[2]) = (word, ports);
            IPV4_TUPLE
        }
        None => {
            (tuple[4], tuple[5], tuple[6], tuple[7]) = (words[0], words[1], words[2], words[3]);
            tuple[8] = ports;
            IPV6_TUPLE
        }
    };
    let at: *mut bpf_sock_tuple = addr_of_mut!(tuple).cast();
    let ctx = ctx.sock_addr.cast();
    // SAFETY: the context of this program, and a tuple of this size.
    let found = unsafe {
        match protocol {
            Protocol::Udp => bpf_sk_lookup_udp(ctx, at, size, OWN_NAMESPACE, 0),
            Protocol::Tcp => bpf_skc_lookup_tcp(ctx, at, size, OWN_NAMESPACE, 0).cast(),
            _ => return false,
        }
    };
    if found.is_null() {
        return false;
    }
    // SAFETY: a socket that was looked up, once.
    unsafe { bpf_sk_release(found.cast()) };
    true
}
