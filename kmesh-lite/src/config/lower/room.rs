//! Whether the mesh fits into its limits and ranges: the daemon refuses one that does not.

use super::super::endpoint::VipText;
use super::super::location::Location;
use super::super::problem::{Problem, Severity};
use super::merge::Merged;
use super::{Diagnostics, Spot};
use crate::model::{Mesh, Name, Table};
use crate::tables::{Shortage, least_bytes, shortages};

pub fn check(merged: &Merged<'_>, mesh: &Mesh, report: &mut Diagnostics) {
    for shortage in shortages(mesh) {
        let message = shortage.to_string();
        let place = match &shortage {
            Shortage::Rows { table, .. } => limit(merged, *table),
            Shortage::Vips { service, .. } => auto(merged, service),
        };
        let problem = match (place, report.order.first()) {
            (Some(spot), _) => spot.error(message),
            // A limit that nobody wrote has no place but the main file.
            (None, Some(origin)) => {
                Problem::new(Severity::Error, Location::whole(origin.clone()), message)
            }
            (None, None) => continue,
        };
        let problem = match (&shortage, ranges(merged)) {
            (Shortage::Vips { .. }, Some(ranges)) => {
                problem.related(ranges.place(), "addresses come from here")
            }
            _ => problem,
        };
        report.push(problem.help(shortage.remedy()));
    }
    warn_of_much(merged, mesh, report);
}

/// Tables of more than this are hardly meant: every pass looks at all of them.
const MUCH: u64 = 1 << 30;

fn warn_of_much(merged: &Merged<'_>, mesh: &Mesh, report: &mut Diagnostics) {
    let bytes = least_bytes(&mesh.limits);
    if let Some((fragment, text)) = merged.limits
        && bytes > MUCH
    {
        let megabytes = bytes >> 20;
        let message =
            format!("tables with these limits take more than {megabytes} MB of kernel memory");
        let problem = Spot::new(fragment, text.span).warning(message);
        report.push(problem.help(
            "all of it is taken when the service starts, and every pass looks at all of it: a larger one than the \
             mesh needs makes each change slow",
        ));
    }
}

/// Where the limit of a table is written, or would be.
fn limit<'a>(merged: &Merged<'a>, table: Table) -> Option<Spot<'a>> {
    let (fragment, text) = merged.limits?;
    let written = match table {
        Table::Addresses => &text.addresses,
        Table::Frontends => &text.frontends,
        Table::Services => &text.services,
        Table::Endpoints => &text.endpoints,
        Table::Backends => &text.backends,
        Table::Waypoints => &text.waypoints,
    };
    let span = written.as_ref().map_or(text.span, |limit| limit.span);
    Some(Spot::new(fragment, span))
}

/// The `auto` of a service.
fn auto<'a>(merged: &Merged<'a>, service: &Name) -> Option<Spot<'a>> {
    let entry = merged.services.get(service.as_str())?;
    let mut vips = entry.text?.vips.0.iter().flat_map(|list| &list.items);
    let auto = vips.find(|item| matches!(item.value, VipText::Auto))?;
    Some(entry.at(auto.span))
}

fn ranges<'a>(merged: &Merged<'a>) -> Option<Spot<'a>> {
    let (fragment, text) = merged.mesh?;
    Some(Spot::new(fragment, text.vip_ranges.as_ref()?.span))
}
