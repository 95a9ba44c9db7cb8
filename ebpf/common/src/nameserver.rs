//! Where questions that programs send to DNS servers go, while the agent answers them.

use crate::{Address, Family, Port, word};

/// The port of DNS.
pub const DNS: Port = Port::new(53);

/// The agent as a DNS server. It stands in for others only while it is heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Nameserver {
    /// When it was heard of last that it answers, by CLOCK_MONOTONIC in nanoseconds; 0 where it does not.
    pub heartbeat: u64,
    /// SO_NETNS_COOKIE of the network namespace in which it listens; 0 for the first one of the host.
    pub namespace: u64,
    /// Where it listens for clients of IPv4.
    pub v4: Address,
    /// Where it listens for clients of IPv6.
    pub v6: Address,
    /// Of `v4`; 0 where it does not listen there.
    pub v4_port: Port,
    /// Of `v6`.
    pub v6_port: Port,
    /// Bit `n` is set when some cgroup of depth `n` has a row that says whether its questions are captured.
    pub levels: u32,
    /// 1 where only questions of cgroups with [`Asker::Captured`] are; 0 where those of all are but for
    /// [`Asker::LeftAlone`].
    pub listed: u32,
    pub reserved: u32,
}

impl Nameserver {
    /// After so many nanoseconds without a word nothing is captured any more.
    pub const PATIENCE: u64 = 3_000_000_000;

    /// Where it listens for clients of a family.
    #[inline(always)]
    pub const fn listener(&self, family: Family) -> Option<(Address, Port)> {
        let (address, port) = match family {
            Family::V4 => (self.v4, self.v4_port),
            Family::V6 => (self.v6, self.v6_port),
        };
        if port.to_be() == 0 {
            return None;
        }
        Some((address, port))
    }

    /// Whether a heartbeat was lately.
    #[inline(always)]
    pub const fn is_fresh(heartbeat: u64, now: u64) -> bool {
        // One that comes while the time is asked for is ahead of it.
        heartbeat != 0 && now < heartbeat.wrapping_add(Self::PATIENCE)
    }
}

word!(
    /// What becomes of the questions that processes of a cgroup send to DNS servers; the key is the id of the cgroup.
    Asker: u32 {
        /// The agent answers them.
        Captured = 1 "captured",
        /// They go where they are sent: the cgroup is that of a resolver, which the agent may ask.
        LeftAlone = 2 "left alone",
    }
);

const _: () = assert!(size_of::<Nameserver>() == 64);
