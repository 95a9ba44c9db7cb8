//! Weights of `[endpoints]` that a service hides.

use super::super::endpoint::EndpointText;
use super::check::Everything;
use super::endpoint::LoweredEndpoint;
use super::{Diagnostics, Spot};
use crate::model::Name;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Warns where a service lists by address what `[endpoints]` gives another weight, and where it goes on
/// using what `[endpoints]` drains.
pub fn check(mesh: &Everything<'_, '_>, report: &mut Diagnostics) {
    let weighted: BTreeMap<IpAddr, (&LoweredEndpoint<'_>, u32)> = mesh
        .shared
        .values()
        .filter_map(|found| Some((found.address?.value.0, (found, found.entry.text?.weight?.0))))
        .collect();
    if weighted.is_empty() {
        return;
    }
    for service in mesh.services {
        for item in service.text.endpoints.iter().flat_map(|list| &list.items) {
            let (address, own) = match &item.value {
                EndpointText::Address(ip, _) => (Some(*ip), 1),
                EndpointText::Name(_) => continue,
                EndpointText::Table(table) => match (&table.address, &table.name, table.weight) {
                    (Some(address), _, own) => {
                        (Some(address.value.0.0), own.map_or(1, |own| own.0))
                    }
                    (None, Some(name), Some(own)) => (drained(mesh, &name.value.0), own.0),
                    (None, _, _) => continue,
                },
            };
            let Some((shared, weight)) = address.and_then(|ip| weighted.get(&ip)) else {
                continue;
            };
            if *weight == own {
                continue;
            }
            let name = &shared.entry.name.value;
            let message = format!(
                "the weight {weight} of `[endpoints.{name}]` does not count here: this entry has the weight {own}"
            );
            let problem = Spot::new(service.fragment, item.span).warning(message);
            report.push(
                problem
                    .related(shared.entry.spot().place(), "the weight that is hidden")
                    .help(format!(
                        "write `\"{name}\"` alone to take over what `[endpoints]` says"
                    )),
            );
        }
    }
}

/// The address of an entry that takes no new connections. Any other weight may be replaced by its name
/// on purpose.
fn drained(mesh: &Everything<'_, '_>, name: &Name) -> Option<IpAddr> {
    let found = mesh.shared.get(name.as_str())?;
    let weight = found.entry.text?.weight?.0;
    (weight == 0).then_some(found.address?.value.0)
}
