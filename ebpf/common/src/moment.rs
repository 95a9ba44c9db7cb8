//! Moments in the life of a connection, which programs tell while somebody wants to know them.

use crate::{
    Address, AuthorizationId, BackendId, EndpointId, Port, Protocol, ServiceId, WaypointId, word,
};

word!(
    /// What happened to a connection.
    MomentKind: u8 {
        /// connect() was sent elsewhere.
        Decided = 1 "decided",
        /// connect() was refused, before any packet.
        Rejected = 2 "rejected",
        Established = 3 "established",
        /// It never stood.
        Failed = 4 "failed",
        /// It stood, and is over.
        Closed = 5 "closed",
        /// One that arrived was denied before it stood (detail 1), or would have been (detail 0).
        Denied = 6 "denied",
    }
);

/// Which moments somebody wants to know: bits of a word of the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Interest(pub u32);

impl Interest {
    /// Ends, failures and refusals, and decisions that a policy in audit mode would have refused.
    pub const ENDS: Self = Self(1);
    /// Everything.
    pub const ALL: Self = Self(3);

    /// Whether all of `other` is wanted.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything is.
    #[inline(always)]
    pub const fn any(self) -> bool {
        self.0 != 0
    }
}

/// A record of the ring buffer of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Moment {
    /// SO_COOKIE of the socket.
    pub cookie: u64,
    /// When it was, in nanoseconds of CLOCK_MONOTONIC.
    pub at: u64,
    /// What the application asked for.
    pub address: Address,
    /// The client's own address; unspecified before it has one.
    pub source: Address,
    /// The cgroup of the process that connected.
    pub cgroup: u64,
    /// Bytes that the peer has acknowledged, without a header for a waypoint.
    pub sent: u64,
    pub received: u64,
    /// Nanoseconds from the first segment until the connection stood; 0 where that is not known.
    pub connecting: u64,
    /// Nanoseconds from the first segment until the end; 0 where no segment left.
    pub open: u64,
    /// Smoothed round trip time at the end, in microseconds.
    pub rtt: u32,
    /// Segments sent again.
    pub retransmits: u32,
    pub service: Option<ServiceId>,
    pub endpoint: Option<EndpointId>,
    pub backend: Option<BackendId>,
    pub waypoint: Option<WaypointId>,
    /// The process that connected (thread group, first pid namespace); 0 where that is not known.
    pub process: u32,
    /// Its user; [`Moment::NOBODY`] where that is not known.
    pub user: u32,
    /// The number of an outcome of the decision, or of an [`crate::Ending`], by the kind.
    pub detail: u32,
    pub port: Port,
    /// The client's own port; 0 before it has one.
    pub source_port: Port,
    pub kind: MomentKind,
    pub protocol: Protocol,
    pub zero: [u8; 2],
    /// What refused it, or would have.
    pub authorization: Option<AuthorizationId>,
    /// The command of the thread that connected, up to a zero byte; empty where that is not known.
    pub command: [u8; 16],
}

impl Moment {
    /// In place of a user that is not known.
    pub const NOBODY: u32 = u32::MAX;
}

/// What is kept with the socket of a connection for the sake of moments, while somebody wants to know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Teller {
    /// As in [`Moment`]. The life of a connection forgets it when it is accounted, which may be long before the end.
    pub connecting: u64,
    /// As in [`Moment`].
    pub command: [u8; 16],
}

const _: () = assert!(size_of::<Moment>() == 152 && size_of::<Teller>() == 24);
