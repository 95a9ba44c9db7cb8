//! What became of connections, by whom they were for.

use crate::api::TrafficStatus;
use crate::kernel::Accounts;
use kmesh_lite_common::{Ending, EndpointId, ServiceId, Traffic, WaypointId};
use std::collections::BTreeMap;

/// Sums of the kernel's rows, each in every way that somebody may ask for them.
#[derive(Debug, Default)]
pub struct ByWhom {
    pub services: BTreeMap<ServiceId, Traffic>,
    pub endpoints: BTreeMap<EndpointId, Traffic>,
    /// By the service that sent them there as well; `None` for direct connects to backends.
    pub waypoints: BTreeMap<(WaypointId, Option<ServiceId>), Traffic>,
    /// By the cgroup of the client as well.
    pub clients: BTreeMap<(ServiceId, u64), Traffic>,
}

impl ByWhom {
    pub fn new(accounts: &Accounts) -> Self {
        let mut by = Self::default();
        for (key, sums) in &accounts.sums {
            if let Some(service) = key.service {
                by.services.entry(service).or_default().add(sums);
                let client = (service, key.cgroup);
                by.clients.entry(client).or_default().add(sums);
            }
            if let Some(endpoint) = key.endpoint {
                by.endpoints.entry(endpoint).or_default().add(sums);
            }
            if let Some(waypoint) = key.waypoint {
                let to = (waypoint, key.service);
                by.waypoints.entry(to).or_default().add(sums);
            }
        }
        by
    }

    pub fn service(&self, id: ServiceId) -> TrafficStatus {
        self.services.get(&id).map(status).unwrap_or_default()
    }

    pub fn endpoint(&self, id: Option<EndpointId>) -> TrafficStatus {
        let sums = id.and_then(|id| self.endpoints.get(&id));
        sums.map(status).unwrap_or_default()
    }
}

pub fn status(sums: &Traffic) -> TrafficStatus {
    TrafficStatus {
        established: sums.established,
        active: sums.active(),
        failed: reasons(&sums.failed),
        ended: reasons(&sums.ended),
        sent_bytes: sums.sent,
        received_bytes: sums.received,
        retransmits: sums.retransmits,
    }
}

fn reasons(counts: &[u64; Ending::COUNT]) -> BTreeMap<String, u64> {
    let counted = Ending::ALL
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0);
    counted
        .map(|(ending, count)| (word(*ending), *count))
        .collect()
}

/// An ending as JSON and metrics have it.
pub fn word(ending: Ending) -> String {
    ending.as_str().replace(' ', "_")
}
