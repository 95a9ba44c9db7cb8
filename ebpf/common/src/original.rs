//! What a redirected socket remembers.

use crate::{
    Address, BackendId, EndpointId, Header, Life, Port, ServiceId, Speaker, Stage, WaypointId, word,
};

/// Value of the socket storage: where the application wanted to go, and what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Original {
    pub address: Address,
    pub port: Port,
    /// What has yet to leave before the application's first byte; `Nothing` from then on.
    pub pending: Header,
    pub service: Option<ServiceId>,
    pub backend: Option<BackendId>,
    pub waypoint: Option<WaypointId>,
    /// The side that is expected to send first, if a header is pending.
    pub speaker: Speaker,
    /// The process that connected (thread group, first pid namespace), if a header is pending; else 0.
    pub process: u32,
    /// The thread whose send is being probed (first pid namespace); 0 before there was one.
    pub sender: u32,
    /// Whether that send has the flag MSG_ZEROCOPY, where that has to be found out.
    pub probe: Probe,
    /// How many numbers of zero-copy sends the socket had used up when the probe or the header began.
    pub ids: u32,
    /// What stands behind the header in the message that brings it, until the header has left it; 0 before.
    pub mark: u32,
    pub endpoint: Option<EndpointId>,
    /// How many bytes of a header have left.
    pub header: u16,
    /// As in [`crate::Connection`], if the socket has no slot there.
    pub stage: Stage,
    pub zero: u8,
    /// The same.
    pub cgroup: u64,
    /// The same.
    pub life: Life,
    /// The terms of the ids of its endpoint and its service, where it is one of their open connections.
    pub endpoint_term: u32,
    pub service_term: u32,
}

impl Original {
    /// The stage, in the word that begins with the endpoint: what a single instruction adds to that word.
    #[inline(always)]
    pub const fn stage_in_word(stage: Stage) -> u64 {
        u64::from_ne_bytes([0, 0, 0, 0, 0, 0, stage.0, 0])
    }

    /// The stage in such a word.
    #[inline(always)]
    pub const fn stage_of_word(word: u64) -> Stage {
        Stage(word.to_ne_bytes()[6])
    }
}

word!(
    /// A send of a socket with SO_ZEROCOPY is known for one with MSG_ZEROCOPY by what its first bytes
    /// do: they use up a number, or they do not.
    Probe: u32 {
        /// There is nothing to find out.
        Idle = 0 "idle",
        /// The first bytes are on their way.
        Sent = 1 "sent",
    }
);

const _: () = assert!(size_of::<Original>() == 112);
const _: () = assert!(core::mem::offset_of!(Original, endpoint) % 8 == 0);
const _: () = assert!(
    core::mem::offset_of!(Original, stage) == core::mem::offset_of!(Original, endpoint) + 6
);
