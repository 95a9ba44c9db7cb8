//! What the decision reads.

use crate::Search;
use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Caller, Endpoint, EndpointId, Frontend, FrontendKey,
    Range, Service, ServiceId, Waypoint, WaypointId,
};

/// What a choice among the endpoints of a service reads. Every call answers for the same generation.
pub trait Seats {
    /// Looked at only where endpoints are searched for one that has room: what else a connect needs of a service stands
    /// in its frontends.
    fn service(&self, id: ServiceId) -> Option<&Service>;
    /// `index` counts from 0 over the whole endpoint table.
    fn endpoint(&self, index: u32) -> Option<&Endpoint>;
    /// How many connections to an endpoint are open, where they are counted.
    fn open(&self, id: EndpointId) -> u32;
    /// Counts another connection to an endpoint, unless `limit` of them are open; a limit of 0 is none.
    fn take(&self, id: EndpointId, limit: u32) -> bool;
    /// 32 even random bits, new ones at each call.
    fn random(&self) -> u32;
    /// [`crate::take_seat_of`] over these tables.
    fn take_seat_of(&self, range: &Range, search: &Search) -> Option<u32>
    where
        Self: Sized,
    {
        crate::take_seat_of(self, range, search)
    }
    /// 0, of which a verifier knows nothing.
    fn blank(&self) -> u32 {
        0
    }
}

/// The tables as one connect sees them: every call answers for the same generation.
pub trait Lookup: Seats + Sized {
    /// False only for addresses that [`Lookup::address`] and [`Lookup::frontend`] do not find.
    fn may_be_ours(&self, _: &Address) -> bool {
        true
    }
    fn address(&self, address: &Address) -> Option<&AddressRow>;
    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend>;
    fn backend(&self, id: BackendId) -> Option<&Backend>;
    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint>;
    /// [`crate::take_seat`] over these tables.
    fn take_seat(&self, search: &Search) -> Option<u32> {
        crate::take_seat(self, search)
    }
    /// Counts a connection to an endpoint and one to a service no more.
    fn leave(&self, endpoint: Option<EndpointId>, service: Option<ServiceId>);
    /// Counts another connection to a service, unless `limit` of them are open; a limit of 0 is none.
    fn take_service(&self, id: ServiceId, limit: u32) -> bool;
    /// Whether another connect to the service is allowed, where `interval` nanoseconds lie between them, and
    /// [`kmesh_lite_common::Picking::SAVED`] of them may have been saved up. It is used up then.
    fn is_due(&self, id: ServiceId, interval: u32) -> bool;
    /// The kind of process that is connecting.
    fn caller(&self) -> Caller;
    /// Whether the socket that is connecting reaches IPv6 addresses alone.
    fn is_for_v6_alone(&self) -> bool {
        false
    }
}
