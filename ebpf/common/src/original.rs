//! What a redirected socket remembers.

use crate::{Address, BackendId, Header, Port, ServiceId, Speaker, WaypointId};

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
}

const _: () = assert!(size_of::<Original>() == 40);
