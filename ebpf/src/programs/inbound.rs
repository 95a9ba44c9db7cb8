//! What arrives in a network namespace: the first segment of a connection, and datagrams to sockets that are not
//! connected. Nothing of a connection that stands comes by here.

use crate::arrival::SourcesAt;
use crate::maps::SETTINGS;
use crate::{counters, moments};
use aya_ebpf::bindings::bpf_sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use core::ptr::{addr_of, read_volatile};
use kmesh_lite_common::{Address, FrontendKey, Judgement, Port, Protocol};
use kmesh_lite_ebpf::judge_arrival;

/// `enum sk_action` of linux/bpf.h: the client of a connection sees it refused at once.
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

const AF_INET: u32 = 2;

/// What arrives.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub local: FrontendKey,
    pub from: Address,
    pub from_port: Port,
}

#[inline(always)]
pub fn inbound(ctx: &SkLookupContext) -> u32 {
    let Some(settings) = SETTINGS.get_ptr(0) else {
        return SK_PASS;
    };
    // SAFETY: inside the row. Volatile: the daemon stores the next one at any time.
    let generation = unsafe { read_volatile(addr_of!((*settings).generation)) };
    let arrival = arrival(ctx.lookup);
    let judged = judge_arrival(&SourcesAt(generation), &arrival.local, &arrival.from);
    let Some(judgement) = judged else {
        return SK_PASS;
    };
    let Judgement { denied, audited } = judgement;
    let Some(id) = denied.or(audited) else {
        return SK_PASS;
    };
    counters::count_arrival(id);
    moments::denied(&arrival, id, denied.is_some());
    if denied.is_some() { SK_DROP } else { SK_PASS }
}

/// What the context says. Field by field, because the verifier refuses to see the context pointer moved.
#[inline(always)]
fn arrival(ctx: *mut bpf_sk_lookup) -> Arrival {
    // SAFETY: the context is valid while the program runs. The local port is in host order, the other one in network
    // order.
    unsafe {
        let protocol = Protocol(read_volatile(addr_of!((*ctx).protocol)) as u8);
        let v4 = (
            read_volatile(addr_of!((*ctx).local_ip4)),
            read_volatile(addr_of!((*ctx).remote_ip4)),
        );
        let local_v6 = [
            read_volatile(addr_of!((*ctx).local_ip6[0])),
            read_volatile(addr_of!((*ctx).local_ip6[1])),
            read_volatile(addr_of!((*ctx).local_ip6[2])),
            read_volatile(addr_of!((*ctx).local_ip6[3])),
        ];
        let from_v6 = [
            read_volatile(addr_of!((*ctx).remote_ip6[0])),
            read_volatile(addr_of!((*ctx).remote_ip6[1])),
            read_volatile(addr_of!((*ctx).remote_ip6[2])),
            read_volatile(addr_of!((*ctx).remote_ip6[3])),
        ];
        let (local, from) = if read_volatile(addr_of!((*ctx).family)) == AF_INET {
            (Address::from_v4_word(v4.0), Address::from_v4_word(v4.1))
        } else {
            (
                Address::from_v6_words(local_v6),
                Address::from_v6_words(from_v6),
            )
        };
        let port = Port::new(read_volatile(addr_of!((*ctx).local_port)) as u16);
        Arrival {
            local: FrontendKey::new(local, port, protocol),
            from,
            from_port: Port::from_be(read_volatile(addr_of!((*ctx).remote_port))),
        }
    }
}
