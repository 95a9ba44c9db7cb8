//! What became of connections, added up.

use crate::{EndpointId, ServiceId, WaypointId, word};

/// Whose connections are added up in one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct TrafficKey {
    /// The cgroup of the process that connected.
    pub cgroup: u64,
    /// `None` for a direct connect to a captured backend, and for a service that is gone.
    pub service: Option<ServiceId>,
    /// `None` when the waypoint of the service chooses, and for an endpoint that is gone.
    pub endpoint: Option<EndpointId>,
    pub waypoint: Option<WaypointId>,
    /// 1 in rows of the daemon, which no program adds to: sums of rows of which something is gone.
    pub folded: u32,
}

word!(
    /// How a connection ended, or an attempt to make one.
    Ending: u32 {
        Closed = 0 "closed",
        Refused = 1 "refused",
        TimedOut = 2 "timed out",
        Unreachable = 3 "unreachable",
        /// By the peer, or by somebody between.
        Reset = 4 "reset",
        /// By the program that began it: before it stood, or with a reset.
        Aborted = 5 "aborted",
        /// No segment left: no route, no local address or port.
        NotSent = 6 "not sent",
        Other = 7 "other",
        /// By the daemon, for the operator.
        Killed = 8 "killed",
    }
);

impl Ending {
    pub const COUNT: usize = 9;

    /// What the kernel's errno says of a connection that was `closed` by a FIN, or was not.
    #[inline(always)]
    pub const fn of(errno: u32, closed: bool) -> Self {
        match errno {
            0 if closed => Self::Closed,
            0 => Self::Aborted,
            // ECONNREFUSED
            111 => Self::Refused,
            // ETIMEDOUT
            110 => Self::TimedOut,
            // ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENONET
            100 | 101 | 112 | 113 | 64 => Self::Unreachable,
            // EPIPE, ECONNRESET
            32 | 104 => Self::Reset,
            // ECONNABORTED
            103 => Self::Aborted,
            _ => Self::Other,
        }
    }
}

/// Sums over connections, of one CPU. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traffic {
    pub established: u64,
    /// Attempts that never stood, by [`Ending`].
    pub failed: [u64; Ending::COUNT],
    /// Connections that stood, by [`Ending`].
    pub ended: [u64; Ending::COUNT],
    /// Bytes that peers have acknowledged, without headers for waypoints.
    pub sent: u64,
    pub received: u64,
    /// Segments sent again, the SYNs of attempts that never stood included.
    pub retransmits: u64,
    /// Smoothed round trip times at the end of connections that stood, in microseconds.
    pub rtt: u64,
    /// How many of them.
    pub rtts: u64,
    /// Nanoseconds from the first segment until connections stood.
    pub connecting: u64,
    /// Nanoseconds from the first segment until connections that stood ended.
    pub open: u64,
}

impl Traffic {
    /// Adds what another CPU has, or another row.
    pub fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.established, other.established),
            (&mut self.sent, other.sent),
            (&mut self.received, other.received),
            (&mut self.retransmits, other.retransmits),
            (&mut self.rtt, other.rtt),
            (&mut self.rtts, other.rtts),
            (&mut self.connecting, other.connecting),
            (&mut self.open, other.open),
        ];
        for (count, by) in counts {
            *count = count.wrapping_add(by);
        }
        add_each(&mut self.failed, &other.failed);
        add_each(&mut self.ended, &other.ended);
    }

    /// Connections that stand at the moment.
    pub fn active(&self) -> u64 {
        let ended: u64 = self.ended.iter().sum();
        // What ended is read a moment later than what began.
        self.established.saturating_sub(ended)
    }

    /// Attempts that never stood.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }
}

fn add_each(counts: &mut [u64], other: &[u64]) {
    for (count, by) in counts.iter_mut().zip(other) {
        *count = count.wrapping_add(*by);
    }
}

/// What is added up of each service, of one CPU: two histograms of times, and sums of what found no row of its
/// own. Bucket `n` counts times of at most `2^n` units of 2^-20 seconds that
/// the buckets before it do not count; the last one, all that are longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Durations {
    /// From the first segment until connections stood.
    pub connecting: [u64; Self::BUCKETS],
    /// From the first segment until connections that stood ended.
    pub open: [u64; Self::BUCKETS],
    pub rest: Traffic,
}

impl Durations {
    pub const BUCKETS: usize = 32;

    /// Adds what another CPU has, or another row.
    pub fn add(&mut self, other: &Self) {
        add_each(&mut self.connecting, &other.connecting);
        add_each(&mut self.open, &other.open);
        self.rest.add(&other.rest);
    }

    /// The bucket of a time in nanoseconds. Nearly without branches, each of which would double what a verifier
    /// has to look at.
    #[inline(always)]
    pub const fn bucket(nanoseconds: u64) -> usize {
        // More is in the last bucket in any case, and would not fit.
        const MOST: u64 = 1 << 43;
        let nanoseconds = if nanoseconds < MOST {
            nanoseconds
        } else {
            MOST
        };
        let units = (nanoseconds << 20).div_ceil(1_000_000_000);
        let bucket = u64::BITS - units.saturating_sub(1).leading_zeros();
        let last = Self::BUCKETS as u32 - 1;
        (if bucket < last { bucket } else { last }) as usize
    }

    /// The longest time that a bucket counts, in nanoseconds.
    #[inline(always)]
    pub const fn bound(bucket: usize) -> u64 {
        // 2^n / 2^20 seconds, rounded down: times are whole nanoseconds.
        (1_000_000_000 << bucket) >> 20
    }
}

const _: () = assert!(size_of::<TrafficKey>() == 24);
const _: () = assert!(size_of::<Traffic>() == 208);
const _: () = assert!(size_of::<Durations>() == 720);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        assert_eq!(Durations::bucket(0), 0);
        for bucket in 0..Durations::BUCKETS - 1 {
            let bound = Durations::bound(bucket);
            assert_eq!(Durations::bucket(bound), bucket);
            assert_eq!(Durations::bucket(bound + 1), bucket + 1);
        }
        assert_eq!(Durations::bucket(u64::MAX), Durations::BUCKETS - 1);
        assert_eq!(Durations::bound(20), 1_000_000_000);
    }

    #[test]
    fn words_of_endings_are_as_many_as_are_counted() {
        assert_eq!(Ending::ALL.len(), Ending::COUNT);
    }
}
