//! What is remembered of the clients of services.

use crate::{ClientsBy, EndpointId, Family, ServiceId};

/// A client of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct ClientKey {
    pub service: Option<ServiceId>,
    /// What [`ClientRow`] is about, and how the client is told from others.
    kind: u32,
    pub client: u64,
}

impl ClientKey {
    const CONNECTS: u32 = 1 << 16;

    /// A client that keeps its endpoint, of those for a family.
    #[inline(always)]
    pub const fn held(service: ServiceId, by: ClientsBy, family: Family, client: u64) -> Self {
        Self {
            service: Some(service),
            kind: by.0 as u32 | (family as u32) << 8,
            client,
        }
    }

    /// A unit whose connects are limited.
    #[inline(always)]
    pub const fn limited(service: ServiceId, cgroup: u64) -> Self {
        Self {
            service: Some(service),
            kind: Self::CONNECTS,
            client: cgroup,
        }
    }
}

/// What is remembered of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClientRow {
    /// In nanoseconds of CLOCK_MONOTONIC: of a client that keeps its endpoint, when it connected last; of one whose
    /// connects are limited, when as many would have been allowed as there were.
    pub moment: u64,
    /// Where it connected last.
    pub held: Held,
    /// That of the endpoint at that time ([`crate::Open::term`]).
    pub term: u32,
}

impl ClientRow {
    /// The endpoint that a client keeps at the moment `now`, if it connected no more than `affinity` milliseconds ago, and
    /// if the term of the endpoint is still that of then.
    #[inline(always)]
    pub fn kept(&self, now: u64, affinity: u32, term: u32) -> Option<Held> {
        let since = now.wrapping_sub(self.moment);
        let is_kept = since <= Self::nanoseconds(affinity) && self.term == term;
        is_kept.then_some(self.held)
    }

    /// Until when it keeps it, if it does not connect again.
    pub const fn kept_until(&self, affinity: u32) -> u64 {
        self.moment.saturating_add(Self::nanoseconds(affinity))
    }

    #[inline(always)]
    const fn nanoseconds(affinity: u32) -> u64 {
        affinity as u64 * 1_000_000
    }
}

/// The endpoint of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Held {
    pub endpoint: Option<EndpointId>,
    /// The number of a row of its column that was of this endpoint.
    pub at: u32,
    zero: u32,
}

impl Held {
    /// No endpoint.
    pub const NONE: Self = Self {
        endpoint: None,
        at: 0,
        zero: 0,
    };

    #[inline(always)]
    pub const fn new(endpoint: EndpointId, at: u32) -> Self {
        Self {
            endpoint: Some(endpoint),
            at,
            zero: 0,
        }
    }
}

const _: () = assert!(size_of::<ClientKey>() == 16 && size_of::<ClientRow>() == 24);
