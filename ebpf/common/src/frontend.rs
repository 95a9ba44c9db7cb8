//! What clients connect to.

use crate::{Address, Port, Row, ServiceId, id, word};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frontend {
    pub key: FrontendKey,
    pub service: Option<ServiceId>,
    /// Port of the endpoints that have none of their own.
    pub target: Port,
    /// The column of the service's ranges that holds the endpoints' own ports for this frontend.
    pub column: u16,
}

impl Frontend {
    pub const fn new(key: FrontendKey, service: ServiceId, target: Port, column: u16) -> Self {
        Self {
            key,
            service: Some(service),
            target,
            column,
        }
    }
}

impl Row for Frontend {}

const _: () = assert!(size_of::<FrontendKey>() == 20 && size_of::<Frontend>() == 28);
