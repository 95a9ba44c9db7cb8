//! A set of endpoints with one policy.

use crate::{EachClient, GuardId, Name, Picking, Range, Row, WaypointId, id, word};

id!(
    /// Row of the service table.
    ServiceId
);

/// Number of priorities: one for each count of leading routing-preference scopes that can match.
pub const PRIORITIES: usize = 7;

word!(
    /// Which priorities an endpoint may be picked from.
    Policy: u16 {
        /// Localities do not count; every endpoint is at priority 0.
        Random = 1 "random",
        /// Priority 0 or nothing.
        Strict = 2 "strict",
        /// The nearest priority that has endpoints.
        Failover = 3 "failover",
    }
);

/// A service as the programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Service {
    pub name: Name,
    pub policy: Policy,
    /// Number of columns in each range.
    pub columns: u16,
    /// Where all of its connections go instead of to an endpoint.
    pub waypoint: Option<WaypointId>,
    /// Endpoints for clients that asked for an IPv4 address, by priority.
    pub v4: [Range; PRIORITIES],
    /// Endpoints for clients that asked for an IPv6 address, by priority.
    pub v6: [Range; PRIORITIES],
    /// Endpoints of weight 0. They are here for their counters: no choice is made among them.
    pub drained: Range,
    pub picking: Picking,
    pub clients: EachClient,
    /// What authorization policies say of it, if they say something of clients.
    pub guard: Option<GuardId>,
}

impl Row for Service {}

const _: () = assert!(size_of::<Service>() == 64 + 8 + (2 * PRIORITIES + 1) * 12 + 12 + 8 + 4);
