//! Proxies that take connections in place of endpoints.

use crate::{Address, Name, Port, Row, id, word};

id!(
    /// Row of the waypoint table.
    WaypointId
);

word!(
    /// How a waypoint learns the original destination.
    Header: u16 {
        /// It does not.
        Nothing = 1 "none",
        /// Kmesh's TLV header.
        Tlv = 2 "tlv",
        /// PROXY protocol version 2.
        ProxyV2 = 3 "proxy-v2",
    }
);

/// A waypoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Waypoint {
    pub name: Name,
    pub address: Address,
    pub port: Port,
    pub header: Header,
}

impl Row for Waypoint {}

const _: () = assert!(size_of::<Waypoint>() == 84);
