//! What clients connect to.

use crate::{Address, Picking, Port, Range, Row, ServiceId, Slot, WaypointId, id, word};

word!(
    /// Transport protocol, by its IP protocol number.
    Protocol: u8 {
        Tcp = 6 "tcp",
        Udp = 17 "udp",
    }
);

/// Key of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FrontendKey {
    pub address: Address,
    pub port: Port,
    pub protocol: Protocol,
    zero: u8,
}

impl FrontendKey {
    #[inline(always)]
    pub const fn new(address: Address, port: Port, protocol: Protocol) -> Self {
        Self {
            address,
            port,
            protocol,
            zero: 0,
        }
    }
}

id!(
    /// Row of the frontend table.
    FrontendId
);

/// Where connects to a frontend go. It holds its own key: the table reads back without its index.
///
/// What a connect needs of the service stands here as well, so that it reads no row of the service. A slot
/// of these rows is two cache lines, with the stamps and the first version in the first one, and the
/// second version in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frontend {
    pub key: FrontendKey,
    pub service: Option<ServiceId>,
    /// The endpoints that new connects may go to: those of the nearest priority that has any, if the
    /// policy of the service allows that priority; else none.
    pub in_use: Range,
    /// That of the service, which takes the place of endpoints.
    pub waypoint: Option<WaypointId>,
    /// Port of the endpoints that have none of their own.
    pub target: Port,
    /// The column of the service's ranges that holds the endpoints' own ports for this frontend.
    pub column: u16,
    /// That of the service.
    pub picking: Picking,
}

impl Frontend {
    pub const fn new(
        key: FrontendKey,
        service: ServiceId,
        waypoint: Option<WaypointId>,
        in_use: Range,
        target: Port,
        column: u16,
        picking: Picking,
    ) -> Self {
        Self {
            key,
            service: Some(service),
            in_use,
            waypoint,
            target,
            column,
            picking,
        }
    }
}

impl Row for Frontend {}

const _: () = assert!(size_of::<FrontendKey>() == 20 && size_of::<Slot<Frontend>>() == 128);
