//! The safety belt: policies that would cut off somebody who must not be.
//!
//! In: a mesh, and the ways to this host that are needed. Out: the policies that are in their way. Only those count that
//! enforce, and that do not say that it is meant (`force`).

use super::build::{BuildError, build};
use super::judge::judge_source;
use super::{Actual, Tables};
use crate::model::{
    Authorization, Backend, Endpoint, Facts, Mesh, Mode, Name, Probe, Protocol, Service, Source,
};
use imbl::OrdMap;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A way to this host that is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A connection of the operator that stands.
    Session { local: SocketAddr, peer: SocketAddr },
    /// How the agent probes an endpoint that is on this host.
    Probe {
        service: Name,
        local: SocketAddr,
        peer: IpAddr,
    },
}

/// A policy that is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockout {
    pub policy: Name,
    pub way: Way,
}

impl Way {
    pub const fn local(&self) -> SocketAddr {
        match self {
            Self::Session { local, .. } | Self::Probe { local, .. } => *local,
        }
    }

    pub const fn from(&self) -> IpAddr {
        match self {
            Self::Session { peer, .. } => peer.ip(),
            Self::Probe { peer, .. } => *peer,
        }
    }
}

impl fmt::Display for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        match &self.way {
            Way::Session { local, peer } => write!(
                f,
                "policy `{policy}` would lock out the connection from {peer} to {local}"
            )?,
            Way::Probe {
                service,
                local,
                peer,
            } => write!(
                f,
                "policy `{policy}` would refuse the probes of endpoint {local} of service `{service}`, which come from {peer}"
            )?,
        }
        write!(
            f,
            "; `force = true` in `[policies.{policy}]` overrides this"
        )
    }
}

/// Whether any policy of a mesh can be in the way of anybody.
pub fn can_lock_out(mesh: &Mesh) -> bool {
    mesh.policies.values().any(counts)
}

/// The ways of probes that a mesh needs to the addresses of this host.
pub fn probes(mesh: &Mesh, own: &BTreeSet<IpAddr>) -> Vec<Way> {
    if !mesh.is_checked || !can_lock_out(mesh) {
        return Vec::new();
    }
    let services = mesh.services.iter();
    let ways = services.flat_map(|(name, service)| {
        let here = service.endpoints.iter();
        let here = here.filter(|it| own.contains(&it.address) || it.address.is_loopback());
        here.filter_map(move |endpoint| probe(name, service, endpoint))
    });
    ways.collect()
}

/// None where it is not probed, or by a program, of which nothing is known.
fn probe(name: &Name, service: &Service, endpoint: &Endpoint) -> Option<Way> {
    let check = endpoint.check.as_ref()?;
    if matches!(check.probe, Probe::Command(_)) {
        return None;
    }
    let mut ports = service.ports.iter();
    let first = ports.find(|port| port.protocol == Protocol::Tcp);
    let port = check.port.or_else(|| Some(endpoint.port(first?)))?;
    Some(Way::Probe {
        service: name.clone(),
        local: SocketAddr::new(endpoint.address, port),
        peer: check.source.unwrap_or(from(endpoint.address)),
    })
}

/// Where what connects to an address of its own host comes from. That of another one of the same network that the
/// interface had before is not known here.
fn from(own: IpAddr) -> IpAddr {
    match own {
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        other => other,
    }
}

/// The policies of a mesh that are in the way of any of these. `before` is the mesh that counts until then: ways that it
/// refuses already are not what the new one cuts off.
pub fn lockouts(
    mesh: &Mesh,
    before: Option<&Mesh>,
    ways: &[Way],
) -> Result<Vec<Lockout>, BuildError> {
    if ways.is_empty() || !can_lock_out(mesh) {
        return Ok(Vec::new());
    }
    let mut mesh = about(mesh, ways);
    let mut denied = denied_by(&mesh, ways)?;
    if let Some(before) = before.filter(|_| !denied.is_empty()) {
        let refused = denied_by(&about(before, ways), ways)?;
        denied.retain(|(_, way)| refused.iter().all(|(_, it)| it != way));
    }
    if denied.iter().any(|(policy, _)| mesh.policies[policy].force) {
        // What is meant is no excuse for what is not: those alone are asked, of the ways that all together refuse.
        let ways: Vec<_> = denied.into_iter().map(|(_, way)| way).collect();
        mesh.policies.retain(|_, policy| !policy.force);
        denied = denied_by(&mesh, &ways)?;
    }
    let lockouts = denied.into_iter();
    Ok(lockouts
        .map(|(policy, way)| Lockout { policy, way })
        .collect())
}

/// Whether a policy can be in the way of anybody.
fn counts(policy: &Authorization) -> bool {
    enforces(policy) && !policy.force
}

fn enforces(policy: &Authorization) -> bool {
    policy.mode == Mode::Enforce && policy.from.is_some()
}

/// Those of the ways that policies refuse, each with the policy that does.
fn denied_by(mesh: &Mesh, ways: &[Way]) -> Result<Vec<(Name, Way)>, BuildError> {
    let tables = tables(mesh)?;
    let denied = ways.iter().filter_map(|way| {
        let judgement = judge_source(&tables, Protocol::Tcp, way.local(), way.from());
        let row = tables.rows.authorizations.get(&judgement.denied?)?;
        let (policy, _) = mesh.policies.get_key_value(row.name.as_str())?;
        Some((policy.clone(), way.clone()))
    });
    Ok(denied.collect())
}

fn tables(mesh: &Mesh) -> Result<Tables, BuildError> {
    let counters = mesh.limits.endpoints;
    let built = build(mesh, &Facts::default(), &Actual::default(), counters)?;
    Ok(built.tables)
}

/// Whether a policy says something of connections that arrive here.
fn concerns(mesh: &Mesh, policy: &Authorization, local: SocketAddr) -> bool {
    let mut ports = policy.ports.iter();
    let services = policy.services.iter();
    let mut services = services.filter_map(|name| mesh.services.get(name));
    ports.any(|it| it.cover(Protocol::Tcp, local.ip(), local.port()))
        || services.any(|service| {
            let mut here = service.endpoints.iter();
            here.any(|it| it.address == local.ip() && serves(service, it, local.port()))
        })
}

fn serves(service: &Service, endpoint: &Endpoint, port: u16) -> bool {
    let mut mappings = service.ports.iter();
    mappings.any(|it| it.protocol == Protocol::Tcp && endpoint.port(it) == port)
}

/// The part of a mesh that says everything of these ways: a mesh may have a million endpoints, and a policy a hundred
/// thousand networks.
fn about(mesh: &Mesh, ways: &[Way]) -> Mesh {
    let peers: BTreeSet<_> = ways.iter().map(Way::from).collect();
    let locals: BTreeSet<_> = ways.iter().map(|way| way.local().ip()).collect();
    let mut policies = mesh.policies.clone();
    policies.retain(|_, policy| {
        enforces(policy) && ways.iter().any(|way| concerns(mesh, policy, way.local()))
    });
    for policy in policies.values_mut() {
        let from = policy.from.iter().flatten();
        let from = from.filter(|source| match source {
            Source::Network(network) => {
                let mut in_it = peers.range(network.network()..=network.broadcast());
                in_it.next().is_some()
            }
            Source::Service(_) | Source::Locality(_) => true,
        });
        policy.from = Some(from.cloned().collect());
        policy.clients = None;
    }
    let sources = || {
        policies
            .values()
            .flat_map(|policy| policy.from.iter().flatten())
    };
    let by_place = sources().any(|source| matches!(source, Source::Locality(_)));
    let of_services = sources().filter_map(|source| match source {
        Source::Service(name) => Some(name),
        _ => None,
    });
    let targets = policies.values().flat_map(|policy| &policy.services);
    let named: BTreeSet<&Name> = of_services.chain(targets).collect();
    let services = mesh.services.iter();
    let services = services.filter(|(name, _)| by_place || named.contains(name));
    // Those of names stay, because it matters whether a name has an answer.
    let matters = |endpoint: &&Endpoint| {
        let address = &endpoint.address;
        peers.contains(address) || locals.contains(address) || endpoint.of_name.is_some()
    };
    let services = services.map(|(name, service)| {
        let endpoints = service.endpoints.iter().filter(matters).cloned().collect();
        let service = Service {
            endpoints,
            waypoint: None,
            vips: Vec::new(),
            ..Service::clone(service)
        };
        (name.clone(), Arc::new(service))
    });
    let services: OrdMap<Name, Arc<Service>> = services.collect();
    let addresses = services.values().flat_map(|it| &it.endpoints);
    let backends = addresses.map(|it| (it.address, Backend::default()));
    Mesh {
        limits: mesh.limits,
        backends: backends.collect(),
        services,
        policies,
        ..Mesh::default()
    }
}
