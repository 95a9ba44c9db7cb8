//! Automatic addresses, and what else of this host has such ones. They are the same on every host with the same file,
//! so none of them gives way.

use super::super::Host;
use super::address::overlap;
use super::merge::Merged;
use super::service::LoweredService;
use super::{Diagnostics, Spot};
use crate::model::Vip;
use ipnetwork::IpNetwork;

/// A warning for each range out of which services get addresses and which this host uses for something else.
pub fn check_ranges(
    merged: &Merged<'_>,
    services: &[LoweredService<'_>],
    vip_ranges: &[IpNetwork],
    host: &Host,
    report: &mut Diagnostics,
) {
    let is_auto = |it: &&LoweredService<'_>| it.model.vips.contains(&Vip::Auto);
    let Some(first) = services.iter().find(is_auto) else {
        return;
    };
    for range in vip_ranges {
        let Some(clash) = clash(*range, host) else {
            continue;
        };
        let message = format!("automatic addresses are taken from `{range}`, and {clash}");
        let help =
            "give `vip_ranges` of `[mesh]` a range that nothing else uses, the same on every host";
        let spot = spot(merged, *range)
            .or_else(|| Some(merged.services.get(first.name().as_str())?.spot()));
        if let Some(spot) = spot {
            report.push(spot.warning(message).help(help));
        }
    }
}

/// Where a range is written; default ones are not.
fn spot<'a>(merged: &Merged<'a>, range: IpNetwork) -> Option<Spot<'a>> {
    let (anchor, text) = merged.mesh?;
    let mut written = text.vip_ranges.as_ref()?.items.iter();
    let item = written.find(|item| item.value.0 == range)?;
    Some(Spot::new(anchor, item.span))
}

fn clash(range: IpNetwork, host: &Host) -> Option<String> {
    if let Some(ip) = host.own_addresses.iter().find(|ip| range.contains(**ip)) {
        return Some(format!("`{ip}` is an address of this host"));
    }
    let mut routes = host.routes.iter();
    let route = routes.find(|route| overlap(route.network, range))?;
    Some(format!(
        "this host has a route to `{}` over {}: programs would not reach the hosts there",
        route.network, route.device
    ))
}
