//! Counts of connects, as values.

use super::declared::{Declared, Each, Shape};
use kmesh_lite_common::{AuthorizationId, EndpointId, ServiceId};
use kmesh_lite_ebpf::Outcome;
use std::collections::BTreeMap;

/// Sums over all CPUs, since the table rows they belong to exist.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Connects that were sent to a service. Tables that are not counted have none.
    pub connects: Each<Connects>,
    /// What arrived, of tables by which that is counted.
    pub arrivals: Each<Connects>,
    /// Connects that a service sent to an endpoint, or to the waypoint of its backend.
    pub endpoints: BTreeMap<EndpointId, u64>,
    pub open: OpenConnections,
}

/// Connections of this host that are open at the moment, of what they are counted of, and connects that were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenConnections {
    pub services: BTreeMap<ServiceId, u32>,
    pub endpoints: BTreeMap<EndpointId, u32>,
    /// When as many connects would have been allowed as there were, of services that limit them, in nanoseconds of
    /// CLOCK_MONOTONIC.
    pub due: BTreeMap<ServiceId, u64>,
}

impl OpenConnections {
    pub fn service(&self, id: ServiceId) -> u32 {
        self.services.get(&id).copied().unwrap_or_default()
    }

    pub fn endpoint(&self, id: EndpointId) -> u32 {
        self.endpoints.get(&id).copied().unwrap_or_default()
    }
}

impl Counters {
    /// What authorization policies refused, or would have: connects and what arrived.
    pub fn refused(&self) -> BTreeMap<AuthorizationId, u64> {
        let mut refused = self.connects.authorizations.clone();
        for (id, count) in &self.arrivals.authorizations {
            *refused.entry(*id).or_default() += count;
        }
        refused
    }

    /// Connects that were sent to a service.
    pub fn service(&self, id: ServiceId) -> u64 {
        self.connects.services.get(&id).copied().unwrap_or_default()
    }

    /// Connects that a service sent to an endpoint.
    pub fn endpoint(&self, id: EndpointId) -> u64 {
        self.endpoints.get(&id).copied().unwrap_or_default()
    }
}

/// Counts by id.
#[derive(Clone, Copy, Debug)]
pub struct Connects;

impl Shape for Connects {
    type Of<T: Declared> = BTreeMap<T::Id, u64>;
}
