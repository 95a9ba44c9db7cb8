//! What a name has.

use std::net::IpAddr;
use std::sync::Arc;

/// The records of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRecords {
    /// Lists of equally good addresses, the nearest first.
    pub addresses: Vec<Vec<IpAddr>>,
    pub services: Vec<ServiceRecord>,
    /// The name that an address is called.
    pub pointer: Option<Arc<str>>,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRecord {
    /// 0 is asked first.
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// A name of the zone that has addresses.
    pub target: Arc<str>,
}
