//! Proxies that take connections in place of endpoints.

use super::{CgroupRef, Header};
use std::net::SocketAddr;

/// A waypoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waypoint {
    pub address: SocketAddr,
    pub header: Header,
    /// Where it runs on this host, if it does: its own connections skip waypoints.
    pub unit: Option<CgroupRef>,
}
