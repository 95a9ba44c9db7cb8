//! Why no endpoint of a service is as it should be, in a few words.

use crate::api::{EndpointStatus, ServiceStatus};
use std::collections::BTreeMap;

/// What keeps an endpoint from new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Down,
    Ejected,
    Drained,
    InMaintenance,
    NotProbed,
    OnStandby,
    /// Nothing of its own: the policy looks elsewhere, or it is of the other family.
    OutOfReach,
}

impl Why {
    fn of(endpoint: &EndpointStatus) -> Self {
        let unusable = endpoint.health.as_ref().filter(|health| !health.usable);
        match unusable.map(|health| health.state.as_str()) {
            Some("draining") => Self::Drained,
            Some("maintenance") => Self::InMaintenance,
            Some("ejected") => Self::Ejected,
            Some("unknown") => Self::NotProbed,
            Some("standby") => Self::OnStandby,
            Some(_) => Self::Down,
            None if endpoint.weight == 0 => Self::Drained,
            None => Self::OutOfReach,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Ejected => "ejected",
            Self::Drained => "drained",
            Self::InMaintenance => "in maintenance",
            Self::NotProbed => "not probed yet",
            Self::OnStandby => "on standby",
            Self::OutOfReach => "out of reach by the policy or the address family",
        }
    }
}

/// `all endpoints{of} are drained`, or how many are what where they are not all the same; and that they are used
/// nevertheless, where they are.
pub fn told(service: &ServiceStatus, of: &str) -> String {
    let mut counts: BTreeMap<Why, usize> = BTreeMap::new();
    for endpoint in service.priorities.iter().flat_map(|it| &it.endpoints) {
        *counts.entry(Why::of(endpoint)).or_default() += 1;
    }
    let counts: Vec<_> = counts.into_iter().collect();
    let each = counts
        .iter()
        .map(|(why, n)| format!("{n} {}", why.as_str()));
    let each = each.collect::<Vec<_>>().join(", ");
    match (&*counts, service.uses_all) {
        ([], _) => format!("no endpoint{of} may be used"),
        ([(why, _)], false) => format!("all endpoints{of} are {}", why.as_str()),
        ([(why, _)], true) => {
            format!(
                "all endpoints{of} are {}, and used nevertheless",
                why.as_str()
            )
        }
        (_, false) => format!("no endpoint{of} may be used: {each}"),
        (_, true) => format!(
            "no endpoint{of} is as it should be: {each}; what nobody took out is used nevertheless"
        ),
    }
}

/// Whether somebody wants the endpoint to take no new connections: the operator, beside the file, or the file by its
/// state.
pub fn is_meant(endpoint: &EndpointStatus) -> bool {
    let Some(health) = &endpoint.health else {
        return false;
    };
    let weight = health.order.as_ref().and_then(|order| order.weight);
    health.is_meant() || weight == Some(0)
}
