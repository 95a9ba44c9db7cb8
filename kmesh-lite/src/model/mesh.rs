//! All that a configuration says.

use super::{
    AccessLog, Backend, Caller, Capture, CgroupRef, Header, Limits, Name, OnRemove, Place,
    Protocol, Service, Waypoint,
};
use imbl::OrdMap;
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A whole mesh, as this host sees it. References between its parts resolve.
///
/// A mesh that was made out of another one shares with it what they have in common, so that a copy costs
/// next to nothing, and their difference what differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mesh {
    /// Where this host is.
    pub node: Place,
    /// Where automatic virtual addresses come from, sorted.
    pub vip_ranges: Vec<IpNetwork>,
    /// Whether it may take the place of a mesh with services although it has none.
    pub allow_empty: bool,
    /// Of services of which nothing else is known.
    pub on_remove: OnRemove,
    /// Whether connections are accounted.
    pub accounting: bool,
    /// Where the agent serves metrics, sorted.
    pub metrics: Vec<SocketAddr>,
    /// Which connections are logged, if any.
    pub access_log: Option<AccessLog>,
    pub capture: Capture,
    pub limits: Limits,
    pub waypoints: BTreeMap<Name, Waypoint>,
    pub services: OrdMap<Name, Arc<Service>>,
    /// Every address that is an endpoint of a service or captured itself.
    pub backends: OrdMap<IpAddr, Backend>,
}

impl Mesh {
    /// Whether any waypoint is told the original destination.
    pub fn has_headers(&self) -> bool {
        self.waypoints
            .values()
            .any(|waypoint| waypoint.header != Header::Nothing)
    }

    /// Whether any service takes datagrams.
    pub fn has_datagrams(&self) -> bool {
        let mut ports = self.services.values().flat_map(|service| &service.ports);
        ports.any(|port| port.protocol == Protocol::Udp)
    }

    /// How many endpoints there are, counted in every service that they belong to.
    pub fn endpoints(&self) -> usize {
        let services = self.services.values();
        services.map(|service| service.endpoints.len()).sum()
    }

    /// Cgroups whose processes are not ordinary callers. If one cgroup has several entries, the last one
    /// counts: a cgroup that is bypassed is not a waypoint.
    pub fn callers(&self) -> impl Iterator<Item = (&CgroupRef, Caller)> {
        let waypoints = self.waypoints.values();
        let waypoints = waypoints.filter_map(|waypoint| waypoint.unit.as_ref());
        let bypass = self.capture.bypass.iter();
        waypoints
            .map(|unit| (unit, Caller::Waypoint))
            .chain(bypass.map(|unit| (unit, Caller::Bypass)))
    }
}
