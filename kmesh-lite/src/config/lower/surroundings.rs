//! What the meaning of a service depends on besides its own text. It is kept, to see which services another
//! load has to lower again.

use super::super::Host;
use super::dns::Named;
use super::endpoint::{LoweredEndpoint, SharedEndpoints};
use super::health::Said;
use super::merge::Merged;
use super::service::Lowered;
use super::waypoint::Waypoints;
use crate::model::{Locality, Name, OnRemove, OperatorState, Place, Waypoint};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Surroundings {
    all: OfAll,
    /// Whether every file could be parsed.
    whole: bool,
}

/// What may matter to every service.
#[derive(Debug, Default, PartialEq)]
struct OfAll {
    own_addresses: BTreeSet<IpAddr>,
    node: Place,
    vip_ranges: Vec<IpNetwork>,
    health: Said,
    on_remove: OnRemove,
    localities: BTreeMap<Box<str>, Option<Locality>>,
    waypoints: BTreeMap<Box<str>, (Option<SocketAddr>, Option<Waypoint>)>,
    /// By name: a service may name an entry that is not there yet, or that nothing could be made of.
    shared: BTreeMap<Box<str>, Shared>,
}

/// An entry of `[endpoints]`.
#[derive(Debug, PartialEq)]
struct Shared {
    address: Option<IpAddr>,
    named: Option<Named>,
    place: Arc<Place>,
    weight: Option<u32>,
    health: Option<Said>,
    state: OperatorState,
    max_connections: Option<u32>,
    waypoint: Option<Name>,
}

impl Shared {
    fn new(found: &LoweredEndpoint<'_>) -> Self {
        let weight = found.entry.text.and_then(|text| text.weight);
        let max_connections = found.entry.text.and_then(|text| text.max_connections);
        Self {
            address: found.address.map(|address| address.value.0),
            named: found.named.clone(),
            place: Arc::clone(&found.resolved),
            weight: weight.map(|weight| weight.0),
            health: found.health().map(Said::from),
            state: found.state,
            max_connections: max_connections.map(|limit| limit.0),
            waypoint: found.waypoint.clone(),
        }
    }
}

impl Surroundings {
    pub fn new(
        (host, whole): (&Host, bool),
        (node, vip_ranges, health, on_remove): (&Place, &[IpNetwork], &Said, OnRemove),
        merged: &Merged<'_>,
        waypoints: &Waypoints<'_>,
        shared: &SharedEndpoints<'_>,
    ) -> Self {
        let localities = merged.localities.iter();
        let localities = localities.map(|(name, entry)| {
            let locality = entry.text.map(|text| text.0.clone());
            (Box::from(*name), locality)
        });
        let waypoints = waypoints.iter().map(|(name, found)| {
            let address = found.address.map(|address| address.value.0);
            (Box::from(*name), (address, found.model.clone()))
        });
        let shared = shared.iter();
        Self {
            all: OfAll {
                own_addresses: host.own_addresses.clone(),
                node: node.clone(),
                vip_ranges: vip_ranges.to_vec(),
                health: health.clone(),
                on_remove,
                localities: localities.collect(),
                waypoints: waypoints.collect(),
                shared: shared
                    .map(|(name, found)| (Box::from(*name), Shared::new(found)))
                    .collect(),
            },
            whole,
        }
    }

    /// What is different here than before.
    pub fn changes(&self, before: &Self) -> Changes {
        Changes {
            everything: self.all != before.all,
            whole: self.whole,
        }
    }
}

/// What is different than at an earlier load.
pub struct Changes {
    everything: bool,
    /// Whether every file could be parsed now.
    whole: bool,
}

impl Changes {
    /// Whether a service may mean something else now, or something else may be said of it.
    pub fn concern(&self, lowered: &Lowered) -> bool {
        // Where a file could not be parsed, less is said; where nothing was said, it is the same.
        let is_said =
            lowered.is_all_said == self.whole || (!self.whole && lowered.problems.is_empty());
        self.everything || !is_said
    }
}
