//! How many connections are open.

use crate::kernel::Living;
use kmesh_lite_common::{EndpointId, ServiceId};
use std::collections::BTreeMap;

/// Open connections by what was chosen for them.
#[derive(Debug, Default)]
pub struct Open {
    services: BTreeMap<ServiceId, u64>,
    endpoints: BTreeMap<EndpointId, u64>,
}

impl Open {
    pub fn count(connections: &[Living]) -> Self {
        let mut open = Self::default();
        for Living { connection, .. } in connections.iter().filter(|it| !it.is_over()) {
            if let Some(service) = connection.service {
                *open.services.entry(service).or_default() += 1;
            }
            if let Some(endpoint) = connection.endpoint {
                *open.endpoints.entry(endpoint).or_default() += 1;
            }
        }
        open
    }

    pub fn of_service(&self, id: ServiceId) -> u64 {
        self.services.get(&id).copied().unwrap_or_default()
    }

    pub fn of_endpoint(&self, id: Option<EndpointId>) -> u64 {
        let open = id.and_then(|id| self.endpoints.get(&id));
        open.copied().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.endpoints.is_empty()
    }
}
