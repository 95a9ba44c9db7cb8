//! What a redirected socket remembers.

use crate::{Address, BackendId, Port, ServiceId, WaypointId};

/// Value of the socket storage: where the application wanted to go, and what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Original {
    pub address: Address,
    pub port: Port,
    zero: u16,
    pub service: Option<ServiceId>,
    pub backend: Option<BackendId>,
    pub waypoint: Option<WaypointId>,
}

impl Original {
    #[inline(always)]
    pub const fn new(
        address: Address,
        port: Port,
        service: Option<ServiceId>,
        backend: Option<BackendId>,
        waypoint: Option<WaypointId>,
    ) -> Self {
        Self {
            address,
            port,
            zero: 0,
            service,
            backend,
            waypoint,
        }
    }
}

const _: () = assert!(size_of::<Original>() == 32);
