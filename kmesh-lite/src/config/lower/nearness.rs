//! What `failover` comes to where it is not known where this host is, or an endpoint.

use super::endpoint::Item;
use super::{Diagnostics, Spot};
use crate::model::{Family, Locality, Place, Scope, priority};
use std::net::IpAddr;

/// A service with the policy `failover`.
pub struct Failover<'c, 'a> {
    pub name: &'c str,
    /// Where the policy is written.
    pub policy: Spot<'a>,
    pub prefer: &'c [Scope],
    pub here: &'c Place,
    pub items: &'c [Item],
}

const LOCALITY: [Scope; 3] = [Scope::Region, Scope::Zone, Scope::Subzone];

/// Warns where endpoints cannot be compared by locality, and says what happens to connections.
pub fn check(service: &Failover<'_, '_>, report: &mut Diagnostics) {
    let items = service.items.iter();
    let taking: Vec<&Item> = items.filter(|item| item.endpoint.weight != 0).collect();
    let compares = service.prefer.iter().any(|scope| LOCALITY.contains(scope));
    if !compares || taking.len() < 2 {
        return;
    }
    let unknown = |place: &Place| place.locality == Locality::default();
    let without = taking.iter().copied();
    let without: Vec<_> = without
        .filter(|item| unknown(&item.endpoint.place))
        .collect();
    let none_has_one = without.len() == taking.len();
    let nearest = nearest(service, &taking);
    if none_has_one && nearest.len() < taking.len() {
        // Something else than localities tells them apart.
        return;
    }
    let name = service.name;
    let (spot, why, help) = match (unknown(service.here), without.first()) {
        (false, None) => return,
        (true, _) if none_has_one => (
            service.policy,
            format!("neither this host nor an endpoint of `{name}` has a locality"),
            "give `[node]` and the endpoints a `locality`, or use the policy `random`",
        ),
        (true, None) => (
            service.policy,
            format!("this host has no locality that endpoints of `{name}` could be near to"),
            "give `[node]` its `locality`",
        ),
        (true, Some(_)) => (
            service.policy,
            format!(
                "this host has no locality, which only endpoints of `{name}` without one match"
            ),
            "give `[node]` its `locality`, and each endpoint",
        ),
        (false, Some(first)) => (
            Spot::new(service.policy.anchor, first.span),
            match without.as_slice() {
                [one] => format!(
                    "the endpoint `{}` of `{name}` has no locality, so it counts as far away",
                    one.endpoint.address
                ),
                _ if none_has_one => format!("no endpoint of `{name}` has a locality"),
                several => format!(
                    "{} endpoints of `{name}` have no locality, so they count as far away",
                    several.len()
                ),
            },
            "give each endpoint a `locality`",
        ),
    };
    let outcome = outcome(&nearest, taking.len());
    report.push(spot.warning(format!("{why}: {outcome}")).help(help));
}

/// Those that connections go to: the nearest of each family.
fn nearest(service: &Failover<'_, '_>, taking: &[&Item]) -> Vec<IpAddr> {
    let distance = |item: &Item| priority(service.prefer, service.here, &item.endpoint.place);
    let least = |family| {
        let same = taking.iter();
        let same = same.filter(|item| Family::from(item.endpoint.address) == family);
        same.map(|item| distance(item)).min()
    };
    let (v4, v6) = (least(Family::V4), least(Family::V6));
    let is_nearest = |item: &&&Item| match Family::from(item.endpoint.address) {
        Family::V4 => Some(distance(item)) == v4,
        Family::V6 => Some(distance(item)) == v6,
    };
    let nearest = taking.iter().filter(is_nearest);
    nearest.map(|item| item.endpoint.address).collect()
}

fn outcome(nearest: &[IpAddr], all: usize) -> String {
    const LISTED: usize = 3;
    if nearest.len() == all {
        return "connections go to all endpoints alike, as with `random`".to_owned();
    }
    if nearest.len() > LISTED {
        return format!("all connections go to {} of {all} endpoints", nearest.len());
    }
    let mut listed: Vec<_> = nearest.iter().map(|ip| format!("`{ip}`")).collect();
    // Endpoints at one address differ in their ports.
    listed.dedup();
    format!("all connections go to {}", listed.join(", "))
}
