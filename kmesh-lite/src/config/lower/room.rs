//! Whether the mesh fits into its limits and ranges: the daemon refuses one that does not.

use super::super::endpoint::VipText;
use super::super::location::Location;
use super::super::problem::{Problem, Severity};
use super::merge::Merged;
use super::service::LoweredService;
use super::{Diagnostics, Spot, slots};
use crate::model::{Mesh, Name, Table, Vip};
use crate::tables::{Shortage, guarded_rows, least_bytes, shortages};
use ipnetwork::IpNetwork;

pub fn check(
    merged: &Merged<'_>,
    services: &[LoweredService<'_>],
    mesh: &Mesh,
    report: &mut Diagnostics,
) {
    let shortages = match surely_fits(services, mesh) {
        true => Vec::new(),
        false => shortages(mesh),
    };
    for shortage in shortages {
        if let Shortage::Rows { table, .. } = &shortage
            && *table == Table::Endpoints
            && let Some(problem) = slots::problem(services, &shortage, limit(merged, *table))
        {
            report.push(problem);
            continue;
        }
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

/// Whether there is room by a count that is high and cheap. Where that is in doubt, all of the mesh is counted.
fn surely_fits(services: &[LoweredService<'_>], mesh: &Mesh) -> bool {
    let (mut rows, mut vips, mut frontends, mut autos) = (0, 0, 0, 0);
    for LoweredService {
        model, rows: own, ..
    } in services
    {
        let is_auto = |vip: &&Vip| matches!(vip, Vip::Auto);
        let auto = model.vips.iter().filter(is_auto).count();
        // At most one of each family.
        let all = model.vips.len() + auto;
        rows += own;
        vips += all;
        frontends += all * model.ports.len();
        autos += auto;
    }
    let guarded = guarded_rows(mesh);
    let needs = |table| match table {
        Table::Addresses => vips + captured(mesh) + guarded.addresses,
        Table::Frontends => frontends,
        Table::Services => services.len(),
        Table::Endpoints => rows,
        Table::Backends => mesh.backends.len(),
        Table::Waypoints => mesh.waypoints.len(),
        Table::Authorizations => mesh.policies.len(),
        Table::Rules => guarded.rules,
        Table::Guards => guarded.guards,
        Table::Destinations => guarded.destinations,
        Table::Sources => guarded.sources,
    };
    let mut tables = Table::ALL.iter();
    let has_rows = tables.all(|table| needs(*table) as u64 <= u64::from(mesh.limits.of(*table)));
    has_rows
        && (autos == 0
            || mesh
                .vip_ranges
                .iter()
                .all(|range| holds(*range, vips, mesh)))
}

/// At most so many backends are captured: each has an entry with a waypoint.
fn captured(mesh: &Mesh) -> usize {
    match mesh.waypoints.is_empty() {
        true => 0,
        false => mesh.backends.len(),
    }
}

/// Whether a range alone has so many virtual addresses, besides the backends in it.
fn holds(range: IpNetwork, vips: usize, mesh: &Mesh) -> bool {
    let bits = match range {
        IpNetwork::V4(range) => 32 - u32::from(range.prefix()),
        IpNetwork::V6(range) => 128 - u32::from(range.prefix()),
    };
    // The first and the last address are not given out.
    let size = (1_u128 << bits.min(64)).saturating_sub(2);
    let taken = mesh.backends.range(range.network()..=range.broadcast());
    (vips + taken.count()) as u128 <= size
}

/// Tables of more than this are hardly meant.
const MUCH: u64 = 1 << 30;

fn warn_of_much(merged: &Merged<'_>, mesh: &Mesh, report: &mut Diagnostics) {
    let bytes = least_bytes(&mesh.limits);
    if let Some((anchor, text)) = merged.limits
        && bytes > MUCH
    {
        let megabytes = bytes >> 20;
        let message = format!(
            "a mesh as large as these limits takes more than {megabytes} MB of kernel memory"
        );
        let problem = Spot::new(anchor, text.span).warning(message);
        report.push(problem.help(
            "tables grow with the mesh up to these limits, and only those of connections and flows have their sizes from the \
             start; lower limits keep a mistake in a file from taking the host's memory",
        ));
    }
}

/// Where the limit of a table is written, or would be.
fn limit<'a>(merged: &Merged<'a>, table: Table) -> Option<Spot<'a>> {
    let (anchor, text) = merged.limits?;
    let written = match table {
        Table::Addresses => &text.addresses,
        Table::Frontends => &text.frontends,
        Table::Services => &text.services,
        Table::Endpoints => &text.endpoints,
        Table::Backends => &text.backends,
        Table::Waypoints => &text.waypoints,
        Table::Authorizations => &text.policies,
        Table::Rules => &text.rules,
        Table::Guards => &text.guards,
        Table::Destinations => &text.destinations,
        Table::Sources => &text.sources,
    };
    let span = written.as_ref().map_or(text.span, |limit| limit.span);
    Some(Spot::new(anchor, span))
}

/// The `auto` of a service.
fn auto<'a>(merged: &Merged<'a>, service: &Name) -> Option<Spot<'a>> {
    let entry = merged.services.get(service.as_str())?;
    let mut vips = entry.text()?.vips.iter().flat_map(|list| &list.items);
    let auto = vips.find(|item| matches!(item.value, VipText::Auto))?;
    Some(entry.at(auto.span))
}

fn ranges<'a>(merged: &Merged<'a>) -> Option<Spot<'a>> {
    let (anchor, text) = merged.mesh?;
    Some(Spot::new(anchor, text.vip_ranges.as_ref()?.span))
}
