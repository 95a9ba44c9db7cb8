//! What the decision reads.

use kmesh_lite_common::{
    Address, AddressRow, Backend, BackendId, Caller, Endpoint, Frontend, FrontendKey, Waypoint,
    WaypointId,
};

/// The tables as one connect sees them: every call answers for the same generation.
pub trait Lookup {
    /// False only for addresses that [`Lookup::address`] and [`Lookup::frontend`] do not find.
    fn may_be_ours(&self, _: &Address) -> bool {
        true
    }
    fn address(&self, address: &Address) -> Option<&AddressRow>;
    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend>;
    /// `index` counts from 0 over the whole endpoint table.
    fn endpoint(&self, index: u32) -> Option<&Endpoint>;
    fn backend(&self, id: BackendId) -> Option<&Backend>;
    fn waypoint(&self, id: WaypointId) -> Option<&Waypoint>;
    /// The kind of process that is connecting.
    fn caller(&self) -> Caller;
    /// Whether the socket that is connecting reaches IPv6 addresses alone.
    fn is_for_v6_alone(&self) -> bool {
        false
    }
    /// 32 even random bits, new ones at each call.
    fn random(&self) -> u32;
}
