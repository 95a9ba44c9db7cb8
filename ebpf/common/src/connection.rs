//! The connections that were captured and are still held by a program, one row each.

use crate::{Address, BackendId, EndpointId, Port, Protocol, ServiceId, WaypointId};

/// The slots of a bucket.
pub const PLACES: u32 = 4;

/// The slots among which a connection takes one. Cookies are handed out in sequence, so the sockets of a
/// moment are in the same few buckets, and each finds its own place free; the other places are for
/// sockets that meet one of earlier times there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket {
    /// SO_COOKIE of the socket that has the slot; 0 where it is free. The row of a slot is element
    /// `PLACES * bucket + place` of the connections.
    pub cookies: [u64; PLACES as usize],
}

/// How many cookies a processor takes at a time (`COOKIE_LOCAL_BATCH` of the kernel).
const BATCH: u64 = 4096;
const BUCKETS_OF_BATCH: u32 = BATCH as u32 / PLACES;
const BATCH_BITS: u32 = BUCKETS_OF_BATCH.trailing_zeros();
/// Its multiples, and those of its doubles, keep apart from each other: found by trying, as no fraction does it for all
/// numbers of batches that a table may have room for.
const TURN: u32 = 0x4b81_76ff;

impl Bucket {
    /// The index of the bucket of a socket among `count` buckets, a power of two.
    ///
    /// Sockets in sequence are in the same bucket or in the next one. But each processor takes a batch of cookies, and
    /// begins at the first of it, so the sockets of a moment would be at the beginnings of many batches: in the same
    /// buckets, where there are fewer of them. Each batch is therefore turned by an amount of its own.
    #[inline(always)]
    pub const fn of(cookie: u64, count: u32) -> u32 {
        let group = (cookie / PLACES as u64) as u32;
        let turn = ((cookie / BATCH) as u32).wrapping_mul(TURN) >> (u32::BITS - BATCH_BITS);
        let within = group.wrapping_add(turn) & (BUCKETS_OF_BATCH - 1);
        (group & !(BUCKETS_OF_BATCH - 1) | within) & (count - 1)
    }

    /// The place that a socket takes if it is free.
    #[inline(always)]
    pub const fn first_place(cookie: u64) -> u32 {
        cookie as u32 % PLACES
    }
}

/// One captured connection, from connect() until the program lets go of the socket, and until TCP is
/// done with it if that is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// What the application asked for.
    pub address: Address,
    /// When it connected, in nanoseconds of CLOCK_MONOTONIC; as coarse as the kernel's tick.
    pub since: u64,
    /// The cgroup of the process that connected.
    pub cgroup: u64,
    pub service: Option<ServiceId>,
    pub endpoint: Option<EndpointId>,
    pub backend: Option<BackendId>,
    pub waypoint: Option<WaypointId>,
    /// The process that connected: thread group, in the first pid namespace.
    pub process: u32,
    /// Its user.
    pub user: u32,
    /// The low half of the cookie. While a slot changes hands, it tells a reader whose row this is.
    pub owner: u32,
    pub port: Port,
    pub protocol: Protocol,
    pub stage: Stage,
}

impl Connection {
    /// A stage, in the word that begins with the owner: what a single instruction adds to that word.
    #[inline(always)]
    pub const fn stage_in_word(stage: Stage) -> u64 {
        u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, stage.0])
    }

    /// The stage in such a word.
    #[inline(always)]
    pub const fn stage_of_word(word: u64) -> Stage {
        Stage(word.to_ne_bytes()[7])
    }
}

/// How far a connection has come: a set of bits, of which each is set once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Stage(pub u8);

impl Stage {
    /// It began while connections were accounted.
    pub const ACCOUNTED: Self = Self(1);
    /// Its first segment left, and a program will see its end.
    pub const FOLLOWED: Self = Self(2);
    pub const ESTABLISHED: Self = Self(4);
    /// TCP is done with it, or its socket connects again: what is counted of it was given back.
    pub const CLOSED: Self = Self(8);
    /// No program holds its socket any more.
    pub const RELEASED: Self = Self(16);
    /// The daemon ended it, for the operator. Set right before, so that the end is told by this name.
    pub const KILLED: Self = Self(32);
    /// It is one of the open connections of its endpoint, until TCP is done with it or its slot is given back.
    pub const AT_ENDPOINT: Self = Self(64);
    /// The same of its service.
    pub const AT_SERVICE: Self = Self(128);

    #[inline(always)]
    pub const fn has(self, bit: Self) -> bool {
        self.0 & bit.0 == bit.0
    }

    #[inline(always)]
    pub const fn with(self, bit: Self) -> Self {
        Self(self.0 | bit.0)
    }

    #[inline(always)]
    pub const fn without(self, bits: Self) -> Self {
        Self(self.0 & !bits.0)
    }
}

/// What is counted of a connection while it lives; beside its row, in a table of its own. Words of it are
/// added up and replaced in one step, because the end of a connection and a look at it may meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Life {
    /// When its first segment was about to leave, in nanoseconds of CLOCK_MONOTONIC.
    pub began: u64,
    /// Bytes that were accounted already, those that the peer has acknowledged.
    pub sent: u64,
    /// Bytes that were accounted already.
    pub received: u64,
    /// How long it took to stand, in units of [`Life::CONNECTING_UNIT`]; 0 before, and once it was accounted.
    pub connecting: u32,
    /// Segments sent again that were accounted already.
    pub retransmits: u32,
}

impl Life {
    /// In nanoseconds. More than four minutes fit, and Linux gives up after some two.
    pub const CONNECTING_UNIT: u64 = 64;

    /// A time until a connection stood as a life keeps it.
    #[inline(always)]
    pub const fn connecting_of(nanoseconds: u64) -> u32 {
        let units = nanoseconds / Self::CONNECTING_UNIT + 1;
        if units < u32::MAX as u64 {
            units as u32
        } else {
            u32::MAX
        }
    }

    /// The same in nanoseconds.
    #[inline(always)]
    pub const fn connecting_in_nanoseconds(units: u32) -> u64 {
        units as u64 * Self::CONNECTING_UNIT
    }

    /// The last two words as one, which a single instruction can replace.
    #[inline(always)]
    pub const fn last_words(connecting: u32, retransmits: u32) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (connecting.to_ne_bytes(), retransmits.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// The two words of [`Life::last_words`].
    #[inline(always)]
    pub const fn from_last_words(words: u64) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = words.to_ne_bytes();
        (
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        )
    }
}

const _: () = assert!(core::mem::offset_of!(Life, connecting) == 24);
const _: () = assert!(core::mem::offset_of!(Life, retransmits) == 28);

const _: () = assert!(size_of::<Bucket>() == 32 && size_of::<Connection>() == 64);
const _: () = assert!(core::mem::offset_of!(Connection, owner) == 56 && size_of::<Life>() == 32);

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// How many of these sockets find a place in a table that has twice as many.
    fn placed(cookies: &[u64]) -> usize {
        let buckets = (cookies.len() as u32 * 2 / PLACES).next_power_of_two();
        let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
        for cookie in cookies {
            *taken.entry(Bucket::of(*cookie, buckets)).or_default() += 1;
        }
        taken
            .values()
            .map(|sockets| (*sockets).min(PLACES) as usize)
            .sum()
    }

    /// Sockets of so many processors, each of which has begun a batch.
    fn burst(first_batch: u64, processors: u64, each: u64) -> Vec<u64> {
        let batches = first_batch..first_batch + processors;
        batches
            .flat_map(|batch| (0..each).map(move |at| batch * BATCH + at))
            .collect()
    }

    #[test]
    fn sockets_of_many_processors_find_places() {
        for first in [1, 1_000, 77_777] {
            for (processors, each) in [
                (4, 1_024),
                (8, 512),
                (16, 256),
                (64, 1_024),
                (128, 64),
                (256, 256),
            ] {
                let burst = burst(first, processors, each);
                let listed = placed(&burst);
                let most = burst.len();
                assert!(
                    listed * 100 >= most * 90,
                    "{processors} x {each}: {listed} of {most}"
                );
            }
        }
    }

    #[test]
    fn sockets_in_sequence_fill_a_table_to_the_last_place() {
        let count = 4 * BUCKETS_OF_BATCH;
        let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
        let first = 4 * 19 * BATCH;
        for cookie in first..first + u64::from(count * PLACES) {
            *taken.entry(Bucket::of(cookie, count)).or_default() += 1;
        }
        assert_eq!(taken.len() as u32, count);
        assert!(taken.values().all(|sockets| *sockets == PLACES));
        // Those that follow one another share a line of cookies, as a rule.
        let near = (first..first + BATCH).filter(|cookie| {
            Bucket::of(*cookie, count).abs_diff(Bucket::of(cookie + 1, count)) <= 1
        });
        assert!(near.count() > BATCH as usize - 8);
    }
}
