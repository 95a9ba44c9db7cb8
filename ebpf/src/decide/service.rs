//! From a service to its waypoint, or to the endpoints of one priority.

use super::{endpoint, waypoint};
use crate::{Chosen, Connect, Lookup, Refuse, Verdict};
use kmesh_lite_common::{Caller, Family, Frontend, PRIORITIES, Policy, Range, Service, ServiceId};

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
    id: ServiceId,
    service: &Service,
) -> Verdict {
    if let Some(waypoint) = service.waypoint
        && caller != Caller::Waypoint
    {
        let chosen = Chosen {
            service: Some(id),
            ..Chosen::default()
        };
        return waypoint::decide(tables, connect, chosen, waypoint);
    }
    match usable(service, connect.address.family()) {
        Some(range) => endpoint::decide(tables, connect, caller, frontend, id, &range),
        None => Verdict::Refuse(Refuse::NoEndpoint),
    }
}

/// The endpoints to pick from: those of the lowest priority that has any and that the policy
/// allows. `random` puts every endpoint at priority 0, so it needs no rule of its own.
#[inline(always)]
fn usable(service: &Service, family: Family) -> Option<Range> {
    let ranges = match family {
        Family::V4 => &service.v4,
        Family::V6 => &service.v6,
    };
    let allowed = if service.policy == Policy::Failover {
        PRIORITIES
    } else {
        1
    };
    let mut priority = 0;
    while priority < allowed {
        let range = ranges[priority];
        if range.count != 0 {
            return Some(range);
        }
        priority += 1;
    }
    None
}
