//! From a service to the endpoints of one priority.

use kmesh_lite_common::{Family, PRIORITIES, Policy, Range, Service};

/// The endpoints that clients of an address of `family` share: those of the lowest priority that has any
/// and that the policy allows; an empty range if there is none. `random` puts every endpoint at priority
/// 0, so it needs no rule of its own.
///
/// Whoever builds the tables calls this, and every frontend of the service holds the answer.
pub fn in_use(service: &Service, family: Family) -> Range {
    let ranges = match family {
        Family::V4 => &service.v4,
        Family::V6 => &service.v6,
    };
    let allowed = if service.policy == Policy::Failover {
        PRIORITIES
    } else {
        1
    };
    let mut allowed = ranges[..allowed].iter();
    let nearest = allowed.find(|range| range.count != 0);
    nearest.copied().unwrap_or_default()
}
