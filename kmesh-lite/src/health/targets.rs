//! What is to be probed for a mesh.

use crate::model::{Check, Endpoint, Membership, Name, Probe, Protocol, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// What is probed: a socket, in one way. It may stand for endpoints of many services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub address: SocketAddr,
    /// Without its port, and as if nothing had been said of what comes before the first probe: neither makes a
    /// difference to probes.
    pub check: Arc<Check>,
}

impl Target {
    /// The target of an endpoint, if it is probed.
    pub fn of(service: &Service, endpoint: &Endpoint) -> Option<Self> {
        let check = endpoint.check.as_ref()?;
        target(service, endpoint, &Plain::of(check))
    }

    /// Those of every endpoint of a service that is probed.
    pub fn all_of(service: &Service) -> Vec<(Self, Membership)> {
        // Endpoints of a service mostly have one check.
        let mut plain: BTreeMap<*const Check, Plain> = BTreeMap::new();
        let endpoints = service.endpoints.iter();
        endpoints
            .filter_map(|endpoint| {
                let check = endpoint.check.as_ref()?;
                let plain = plain
                    .entry(Arc::as_ptr(check))
                    .or_insert_with(|| Plain::of(check));
                Some((target(service, endpoint, plain)?, endpoint.into()))
            })
            .collect()
    }
}

/// Endpoints of services.
pub type Members = BTreeSet<(Name, Membership)>;

/// All targets of a mesh, with the endpoints that they stand for.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    all: imbl::OrdMap<Target, Members>,
}

impl Targets {
    pub fn add(&mut self, target: Target, service: &Name, member: Membership) {
        let members = self.all.entry(target).or_default();
        members.insert((service.clone(), member));
    }

    pub fn remove(&mut self, target: &Target, service: &Name, member: &Membership) {
        let Some(members) = self.all.get_mut(target) else {
            return;
        };
        members.remove(&(service.clone(), member.clone()));
        if members.is_empty() {
            self.all.remove(target);
        }
    }

    pub fn has(&self, target: &Target) -> bool {
        self.all.contains_key(target)
    }

    pub fn members(&self, target: &Target) -> Option<&Members> {
        self.all.get(target)
    }

    pub fn all(&self) -> impl Iterator<Item = (&Target, &Members)> {
        self.all.iter()
    }
}

/// A check as targets have it.
struct Plain(Arc<Check>);

impl Plain {
    fn of(check: &Check) -> Self {
        Self(Arc::new(Check {
            port: None,
            initially_usable: true,
            ..check.clone()
        }))
    }
}

/// None if there is no port to probe.
fn target(service: &Service, endpoint: &Endpoint, plain: &Plain) -> Option<Target> {
    let check = endpoint.check.as_ref()?;
    let of_service = || {
        let mut ports = service.ports.iter();
        let first = ports.find(|port| port.protocol == Protocol::Tcp);
        // A program may know by itself what to do with a service of datagrams.
        let any = || match check.probe {
            Probe::Command(_) => service.ports.first(),
            _ => None,
        };
        Some(endpoint.port(first.or_else(any)?))
    };
    Some(Target {
        address: SocketAddr::new(endpoint.address, check.port.or_else(of_service)?),
        check: Arc::clone(&plain.0),
    })
}
