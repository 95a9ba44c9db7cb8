//! Proxies that take connections in place of endpoints.

use super::{CgroupRef, Header, Speaker};
use std::net::SocketAddr;

/// A waypoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waypoint {
    pub address: SocketAddr,
    pub header: Header,
    /// Whether the header waits for the client to send something.
    pub speaker: Speaker,
    /// Where it runs on this host, if it does: its own connections skip waypoints.
    pub unit: Option<CgroupRef>,
}
