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

word!(
    /// Whose bytes come first on a connection to a waypoint.
    Speaker: u32 {
        /// The client's: the header leaves with them.
        Client = 1 "client",
        /// Perhaps the server's: the header leaves as soon as the connection stands.
        Server = 2 "server",
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
    pub speaker: Speaker,
}

impl Row for Waypoint {}

const _: () = assert!(size_of::<Waypoint>() == 88);
