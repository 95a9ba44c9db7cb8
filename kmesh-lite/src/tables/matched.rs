//! The networks that an authorization policy matches.

use super::networks::Network;
use crate::model::{Action, Authorization, Mesh, Name, NamedEndpoints, OnError, Service, Source};
use std::net::IpAddr;

/// The networks that a policy matches. None where it says nothing of addresses.
pub fn matched_networks(mesh: &Mesh, policy: &Authorization) -> Vec<Network> {
    let Some(from) = &policy.from else {
        return Vec::new();
    };
    if let Some(on_error) = policy.on_error
        && !is_resolved(mesh, policy)
    {
        return match (on_error, policy.action) {
            (OnError::Open, Action::Allow) | (OnError::Closed, Action::Deny) => {
                Network::EVERY.to_vec()
            }
            _ => Vec::new(),
        };
    }
    let mut networks = Vec::with_capacity(from.len());
    for source in from {
        match source {
            Source::Network(network) => networks.push(Network::from(*network)),
            Source::Service(name) => {
                networks.extend(addresses(mesh, name).map(Network::from));
            }
            Source::Locality(locality) => {
                let endpoints = mesh.services.values().flat_map(|it| &it.endpoints);
                let there = endpoints.filter(|it| locality.holds(&it.place.locality));
                networks.extend(there.map(|it| Network::from(it.address)));
            }
        }
    }
    networks
}

/// The addresses of the endpoints of a service.
fn addresses<'a>(mesh: &'a Mesh, name: &Name) -> impl Iterator<Item = IpAddr> + 'a {
    let service = mesh.services.get(name).into_iter();
    let endpoints = service.flat_map(|service| &service.endpoints);
    endpoints.map(|endpoint| endpoint.address)
}

/// Whether all names of endpoints that a policy depends on have an answer.
pub fn is_resolved(mesh: &Mesh, policy: &Authorization) -> bool {
    let mut sources = policy.from.iter().flatten();
    sources.all(|source| match source {
        Source::Network(_) => true,
        Source::Service(name) => {
            let service = mesh.services.get(name);
            service.is_none_or(|service| have_answers(service, |_| true))
        }
        Source::Locality(locality) => {
            let there = |named: &NamedEndpoints| locality.holds(&named.like.place.locality);
            mesh.services.values().all(|it| have_answers(it, there))
        }
    })
}

/// Whether each name of endpoints of a service that `counts` has some.
fn have_answers(service: &Service, counts: impl Fn(&NamedEndpoints) -> bool) -> bool {
    let mut named = service.named.iter().filter(|named| counts(named));
    named.all(|named| {
        let mut endpoints = service.endpoints.iter();
        endpoints.any(|it| it.of_name.as_ref().is_some_and(|of| of.name == named.name))
    })
}
