//! All that a configuration says.

use super::{
    AccessLog, Backend, Caller, Capture, CgroupRef, Endpoint, Header, Limits, Name, OnRemove,
    Place, Protocol, Service, Waypoint,
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
    /// Whether any endpoint is probed.
    pub is_checked: bool,
    /// Addresses of the entries of `[endpoints]`.
    pub endpoint_names: BTreeMap<Name, IpAddr>,
    /// Every address that is an endpoint of a service or captured itself.
    pub backends: OrdMap<IpAddr, Backend>,
}

/// Why a text means no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchEndpoint {
    #[error("there is no service `{0}`")]
    Service(String),
    #[error("`{0}` is neither an address nor the name of an entry of `[endpoints]`")]
    Name(String),
    #[error("the service `{service}` has no endpoint `{endpoint}`")]
    Of { service: String, endpoint: String },
    #[error("no service has the endpoint `{0}`")]
    Anywhere(String),
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

    /// The endpoints that a text means: `SERVICE/ENDPOINT`, or `ENDPOINT` in every service that has it.
    pub fn endpoints_named(&self, text: &str) -> Result<Vec<(&Name, &Endpoint)>, NoSuchEndpoint> {
        let (service, wanted) = match text.split_once('/') {
            Some((service, wanted)) => (Some(service), wanted),
            None => (None, text),
        };
        let services: Vec<_> = match service {
            None => self.services.iter().collect(),
            Some(name) => match self.services.get_key_value(name) {
                Some(service) => vec![service],
                None => return Err(NoSuchEndpoint::Service(name.to_owned())),
            },
        };
        let Some((address, port)) = self.address_named(wanted) else {
            return Err(NoSuchEndpoint::Name(wanted.to_owned()));
        };
        let mut found = Vec::new();
        for (name, service) in services {
            let of_service = service.endpoints.iter().filter(|it| it.address == address);
            let has_port = |it: &&Endpoint| {
                let mut ports = service.ports.iter();
                port.is_none_or(|port| ports.any(|mapping| it.port(mapping) == port))
            };
            found.extend(of_service.filter(has_port).map(|it| (name, it)));
        }
        match (found.is_empty(), service) {
            (false, _) => Ok(found),
            (true, Some(service)) => Err(NoSuchEndpoint::Of {
                service: service.to_owned(),
                endpoint: wanted.to_owned(),
            }),
            (true, None) => Err(NoSuchEndpoint::Anywhere(wanted.to_owned())),
        }
    }

    /// What an address, one with a port, or the name of an entry of `[endpoints]` means.
    pub fn address_named(&self, text: &str) -> Option<(IpAddr, Option<u16>)> {
        let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        match (
            bare.unwrap_or(text).parse::<IpAddr>(),
            text.parse::<SocketAddr>(),
        ) {
            (Ok(address), _) => Some((address, None)),
            (_, Ok(socket)) => Some((socket.ip(), Some(socket.port()))),
            _ => Some((*self.endpoint_names.get(text)?, None)),
        }
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
