//! All that a configuration says.

use super::{
    AccessLog, Authorization, Backend, Caller, Capture, CgroupRef, Dns, Endpoint, Header, Limits,
    Name, NamedEndpoints, OnError, OnRemove, Place, Principal, Protocol, QueryCapture, Question,
    Service, Vip, Waypoint, dns_name,
};
use imbl::OrdMap;
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Authorization policies.
    pub policies: BTreeMap<Name, Authorization>,
    /// Whether any endpoint is probed.
    pub is_checked: bool,
    /// Addresses of the entries of `[endpoints]`.
    pub endpoint_names: BTreeMap<Name, IpAddr>,
    /// Entries of `[endpoints]` that are DNS names.
    pub dns_names: BTreeMap<Name, Arc<str>>,
    pub dns: Dns,
    /// What is asked of DNS, with the services that it is for.
    pub questions: BTreeMap<Question, BTreeSet<Name>>,
    /// Every address that is an endpoint of a service or captured itself.
    pub backends: OrdMap<IpAddr, Backend>,
}

/// Why a text means no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchEndpoint {
    #[error("there is no service `{0}`")]
    Service(String),
    #[error(
        "`{0}` is neither an address nor the name of an entry of `[endpoints]`, nor a DNS name of endpoints"
    )]
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

    /// Whether any service takes datagrams, or questions to DNS servers are captured.
    pub fn has_datagrams(&self) -> bool {
        let mut ports = self.services.values().flat_map(|service| &service.ports);
        self.query_capture().is_some() || ports.any(|port| port.protocol == Protocol::Udp)
    }

    /// Whose questions to DNS servers the agent answers, if anybody's.
    pub fn query_capture(&self) -> Option<&QueryCapture> {
        self.dns.serving.as_ref()?.capture.as_ref()
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
        let (of_name, at) = match wanted.rsplit_once('@') {
            Some((name, at)) => (Some(dns_name(name)), at),
            None => (None, wanted),
        };
        let (of_name, address, port) = match (self.address_named(at), self.dns_name(at)) {
            (Some((address, port)), _) => (of_name, Some(address), port),
            (None, Some(name)) if of_name.is_none() => (Some(name.to_owned()), None, None),
            _ => return Err(NoSuchEndpoint::Name(wanted.to_owned())),
        };
        let is_meant = |it: &&Endpoint| {
            let name = it.of_name.as_ref().map(|it| &*it.name);
            address.is_none_or(|address| it.address == address)
                && of_name
                    .as_ref()
                    .is_none_or(|of_name| name == Some(&**of_name))
        };
        let mut found = Vec::new();
        for (name, service) in services {
            let of_service = service.endpoints.iter().filter(is_meant);
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

    /// The services of which a text means all endpoints of a DNS name, each with the name: `SERVICE/NAME`, or `NAME`. There is
    /// none where the text means something else.
    pub fn names_meant(&self, text: &str) -> Vec<(&Name, &NamedEndpoints)> {
        let (service, wanted) = match text.split_once('/') {
            Some((service, wanted)) => (Some(service), wanted),
            None => (None, text),
        };
        let Some(meant) = self.dns_name(wanted) else {
            return Vec::new();
        };
        let services = self.services.iter();
        let services = services.filter(|(name, _)| service.is_none_or(|it| it == name.as_str()));
        let named = services.flat_map(|(name, service)| {
            let of_service = service.named.iter().find(|named| *named.name == *meant);
            of_service.map(|named| (name, named))
        });
        named.collect()
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

    /// The DNS name that a text means, if endpoints have it: by itself, or by the entry of `[endpoints]` that is it.
    fn dns_name(&self, text: &str) -> Option<&str> {
        let of_entry = self.dns_names.get(text).map(|name| &**name);
        of_entry.or_else(|| {
            let wanted = dns_name(text);
            let mut asked = self.questions.keys().map(|question| &*question.name);
            asked.find(|name| *name == wanted)
        })
    }

    /// Whether clients connect to an IPv6 address of a service.
    pub fn has_v6_clients(&self, service: &Service) -> bool {
        has_v6_clients(service, &self.vip_ranges)
    }

    /// How many endpoints there are, counted in every service that they belong to.
    pub fn endpoints(&self) -> usize {
        let services = self.services.values();
        services.map(|service| service.endpoints.len()).sum()
    }

    /// The authorization policies that are about a service, by name.
    pub fn policies_of(&self, service: &Name) -> impl Iterator<Item = (&Name, &Authorization)> {
        let policies = self.policies.iter();
        policies.filter(move |(_, policy)| policy.services.contains(service))
    }

    /// Services that authorization policies are about.
    pub fn guarded(&self) -> BTreeSet<&Name> {
        let policies = self.policies.values();
        let named = policies.flat_map(|policy| &policy.services);
        named
            .filter(|name| self.services.contains_key(*name))
            .collect()
    }

    /// Services of which authorization policies say which clients may connect.
    pub fn guarded_against_clients(&self) -> BTreeSet<&Name> {
        let policies = self.policies.values();
        let policies = policies.filter(|policy| policy.clients.is_some());
        let named = policies.flat_map(|policy| &policy.services);
        named
            .filter(|name| self.services.contains_key(*name))
            .collect()
    }

    /// Whether any authorization policy says from where connections may arrive.
    pub fn judges_arrivals(&self) -> bool {
        self.policies.values().any(|policy| policy.from.is_some())
    }

    /// Whether all of these policies refuse nobody where the kernel cannot judge.
    pub fn arrivals_fail_open(&self) -> bool {
        let mut judging = self.policies.values().filter(|it| it.from.is_some());
        judging.all(|policy| policy.on_error == Some(OnError::Open))
    }

    /// Whom authorization policies are about.
    pub fn clients(&self) -> BTreeSet<&Principal> {
        let policies = self.policies.values();
        let clients = policies.filter_map(|policy| policy.clients.as_ref());
        clients.flatten().collect()
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

/// Whether clients connect to an IPv6 address of a service, or may be told those of its endpoints.
fn has_v6_clients(service: &Service, vip_ranges: &[IpNetwork]) -> bool {
    service.headless
        || service.vips.iter().any(|vip| match vip {
            Vip::Fixed(ip) => ip.is_ipv6(),
            Vip::Auto => vip_ranges.iter().any(IpNetwork::is_ipv6),
        })
}

/// What has to be asked of DNS for services, with those that it is for.
pub fn questions<'a>(
    services: impl Iterator<Item = (&'a Name, &'a Service)>,
    vip_ranges: &[IpNetwork],
) -> BTreeMap<Question, BTreeSet<Name>> {
    let mut questions: BTreeMap<Question, BTreeSet<Name>> = BTreeMap::new();
    for (name, service) in services {
        let has_v6_clients = has_v6_clients(service, vip_ranges);
        for named in &service.named {
            for question in named.questions(has_v6_clients) {
                questions.entry(question).or_default().insert(name.clone());
            }
        }
    }
    questions
}
