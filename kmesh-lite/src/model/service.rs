//! Named sets of frontends and endpoints with one policy.

use super::{Endpoint, Name, Policy, Protocol, Scope};
use std::net::IpAddr;

/// A service. Lists are sorted and without repetition, so that the order of a file cannot matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub vips: Vec<Vip>,
    pub hostnames: Vec<String>,
    pub ports: Vec<PortMapping>,
    pub policy: Policy,
    /// Empty under `random`.
    pub prefer: Vec<Scope>,
    pub waypoint: Option<Name>,
    /// By address.
    pub endpoints: Vec<Endpoint>,
}

/// A virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vip {
    Fixed(IpAddr),
    /// One address of each family in `[mesh] vip_ranges` that the endpoints can serve.
    Auto,
}

/// A port that clients use and the port of the endpoint behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub port: u16,
    pub target: u16,
}
