//! Connections that arrive: those at an address that serves, by where they came from. Which service that is, and
//! which locality, is found out by whoever reads the counts.

use crate::atomic::add;
use crate::{maps, traffic};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuHashMap;
use aya_ebpf::programs::SockOpsContext;
use core::ptr::{addr_of, read_volatile};
use kmesh_lite_common::{Address, ArrivalKey, Port};

#[map]
static ARRIVALS: PerCpuHashMap<ArrivalKey, u64> =
    PerCpuHashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

const AF_INET: u32 = 2;

/// A server has accepted a connection, or is about to.
#[inline(always)]
pub fn arrived(ctx: &SockOpsContext) {
    let (local, source, port) = ends(ctx);
    if !maps::may_serve(&local) || !maps::accounts() {
        return;
    }
    let key = ArrivalKey {
        local,
        // Any number of others may come, and nothing is known of them.
        source: if maps::may_serve(&source) {
            source
        } else {
            Address::default()
        },
        port,
        zero: 0,
    };
    let count = traffic::row(&ARRIVALS, &key, &0, traffic::NO_ARRIVALS);
    if count.is_null() {
        traffic::uncounted();
    } else {
        add(count, 1);
    }
}

/// The own address and that of the client, and the own port.
#[inline(always)]
fn ends(ctx: &SockOpsContext) -> (Address, Address, Port) {
    let ops = ctx.ops;
    // SAFETY: the context is valid while the program runs; word by word, and all of them before the choice:
    // branches would be merged into one load at a computed offset.
    let (family, local4, remote4, local6, remote6, port) = unsafe {
        (
            read_volatile(addr_of!((*ops).family)),
            read_volatile(addr_of!((*ops).local_ip4)),
            read_volatile(addr_of!((*ops).remote_ip4)),
            [
                read_volatile(addr_of!((*ops).local_ip6[0])),
                read_volatile(addr_of!((*ops).local_ip6[1])),
                read_volatile(addr_of!((*ops).local_ip6[2])),
                read_volatile(addr_of!((*ops).local_ip6[3])),
            ],
            [
                read_volatile(addr_of!((*ops).remote_ip6[0])),
                read_volatile(addr_of!((*ops).remote_ip6[1])),
                read_volatile(addr_of!((*ops).remote_ip6[2])),
                read_volatile(addr_of!((*ops).remote_ip6[3])),
            ],
            // In host byte order, unlike other ports of contexts.
            Port::new(read_volatile(addr_of!((*ops).local_port)) as u16),
        )
    };
    if family == AF_INET {
        let (local, remote) = (
            Address::from_v4_word(local4),
            Address::from_v4_word(remote4),
        );
        (local, remote, port)
    } else {
        let (local, remote) = (
            Address::from_v6_words(local6),
            Address::from_v6_words(remote6),
        );
        (local, remote, port)
    }
}
