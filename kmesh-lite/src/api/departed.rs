//! Endpoints that their services have no more, and what becomes of their connections.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// An endpoint that was removed, for as long as it has connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    pub service: String,
    /// The endpoint as the file could name it.
    pub endpoint: String,
    /// `keep`, `drain` or `kill`.
    pub on_remove: String,
    pub since: String,
    /// Connections that go on, as far as they are listed.
    pub open_connections: u64,
    /// Connections that the daemon has ended.
    pub killed: u64,
    /// Those that are to end and that the daemon does not reach: their sockets are in other network namespaces.
    pub out_of_reach: u64,
}

/// The same as the daemon keeps it beyond its own end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDeparture {
    /// The number of the endpoint.
    pub id: u32,
    /// Of its backend.
    #[serde(default = "nowhere")]
    pub address: IpAddr,
    /// Its own ports: the port of the service, the number of the protocol, and the port in its place.
    #[serde(default)]
    pub ports: Vec<(u16, u8, u16)>,
    /// Where its connections go.
    pub peers: BTreeSet<IpAddr>,
    pub departed: Departed,
}

/// A daemon before did not say it. So nobody comes back there.
fn nowhere() -> IpAddr {
    Ipv4Addr::UNSPECIFIED.into()
}
