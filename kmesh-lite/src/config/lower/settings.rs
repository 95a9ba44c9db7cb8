//! `[node]`, `[mesh]`, `[accounting]` and `[limits]`.

use super::super::Host;
use super::address::{overlap, unusable_range};
use super::merge::Merged;
use super::place::{PlaceTable, PlaceText};
use super::{Diagnostics, Spot};
use crate::model::{Limits, OnRemove, Place};
use ipnetwork::IpNetwork;

const DEFAULT_VIP_RANGES: [&str; 2] = ["240.64.0.0/16", "fd6b:6d65:7368::/64"];

pub fn node<'a>(
    merged: &Merged<'a>,
    host: &Host,
    places: &mut PlaceTable<'a>,
    report: &mut Diagnostics,
) -> Place {
    let mut place = Place::default();
    if let Some((anchor, text)) = merged.node {
        let written = PlaceText::new(
            anchor,
            &text.locality,
            [&text.network, &text.name, &text.cluster],
        );
        place = (*places.resolve(written, report)).clone();
    }
    if place.node.is_none() && !host.name.is_empty() {
        place.node = Some(host.name.clone());
    }
    place
}

pub fn vip_ranges(merged: &Merged<'_>, report: &mut Diagnostics) -> Vec<IpNetwork> {
    let written = merged
        .mesh
        .and_then(|(anchor, text)| Some((anchor, text.vip_ranges.as_ref()?)));
    let Some((anchor, written)) = written else {
        return DEFAULT_VIP_RANGES
            .iter()
            .filter_map(|range| range.parse().ok())
            .collect();
    };
    for (index, range) in written.items.iter().enumerate() {
        let spot = Spot::new(anchor, range.span);
        let network = range.value.0;
        if let Some(why) = unusable_range(network) {
            let problem = spot.error(format!("`{network}` {why}"));
            report.push(problem.expected("a range that nothing else uses"));
        }
        let mut earlier = written.items[..index].iter();
        if let Some(first) = earlier.find(|first| overlap(first.value.0, network)) {
            let first = Spot::new(anchor, first.span).place();
            let problem = spot.error(format!("`{network}` overlaps another range"));
            report.push(problem.related(first, "this one"));
        }
    }
    let mut ranges: Vec<_> = written.items.iter().map(|range| range.value.0).collect();
    ranges.sort();
    ranges
}

pub fn allow_empty(merged: &Merged<'_>) -> bool {
    let written = merged.mesh.and_then(|(_, text)| text.allow_empty.as_ref());
    written.is_some_and(|flag| flag.value.0)
}

pub fn on_remove(merged: &Merged<'_>) -> OnRemove {
    let written = merged.mesh.and_then(|(_, text)| text.on_remove.as_ref());
    written.map_or(OnRemove::default(), |written| written.value.0)
}

pub fn accounting(merged: &Merged<'_>) -> bool {
    let written = merged
        .accounting
        .and_then(|(_, text)| text.enabled.as_ref());
    written.is_none_or(|flag| flag.value.0)
}

pub fn limits(merged: &Merged<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some((_, text)) = merged.limits else {
        return limits;
    };
    let pairs = [
        (&mut limits.addresses, &text.addresses),
        (&mut limits.frontends, &text.frontends),
        (&mut limits.services, &text.services),
        (&mut limits.endpoints, &text.endpoints),
        (&mut limits.backends, &text.backends),
        (&mut limits.waypoints, &text.waypoints),
        (&mut limits.policies, &text.policies),
        (&mut limits.guards, &text.guards),
        (&mut limits.rules, &text.rules),
        (&mut limits.destinations, &text.destinations),
        (&mut limits.sources, &text.sources),
        (&mut limits.connections, &text.connections),
        (&mut limits.flows, &text.flows),
    ];
    for (limit, written) in pairs {
        if let Some(written) = written {
            *limit = written.value.0;
        }
    }
    limits
}
