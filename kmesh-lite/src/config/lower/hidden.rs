//! Weights of `[endpoints]` that a service hides.

use super::super::endpoint::EndpointText;
use super::service::{Context, One};
use super::{Diagnostics, Spot};
use crate::model::Name;
use std::net::IpAddr;

/// Warns where a service lists by address what `[endpoints]` gives another weight, and where it goes on
/// using what `[endpoints]` drains.
pub fn check(service: &One<'_, '_>, report: &mut Diagnostics) {
    let context = service.context;
    if !context.at_addresses.has_weights() {
        return;
    }
    for item in service.text.endpoints.iter().flat_map(|list| &list.items) {
        let (address, own) = match &item.value {
            EndpointText::Address(ip, _) => (Some(*ip), 1),
            EndpointText::Name(_) => continue,
            EndpointText::Table(table) => match (&table.address, &table.name, table.weight) {
                (Some(address), _, own) => (Some(address.value.0.0), own.map_or(1, |own| own.0)),
                (None, Some(name), Some(own)) => (drained(context, &name.value.0), own.0),
                (None, _, _) => continue,
            },
        };
        let Some((entry, weight)) = address.and_then(|ip| context.at_addresses.weight(ip)) else {
            continue;
        };
        if weight == own {
            continue;
        }
        let name = &entry.name.value;
        let message = format!(
            "the weight {weight} of `[endpoints.{name}]` does not count here: this entry has the weight {own}"
        );
        let problem = Spot::new(service.anchor, item.span).warning(message);
        report.push(
            problem
                .related(entry.spot().place(), "the weight that is hidden")
                .help(format!(
                    "write `\"{name}\"` alone to take over what `[endpoints]` says"
                )),
        );
    }
}

/// The address of an entry that takes no new connections. Any other weight may be replaced by its name
/// on purpose.
fn drained(context: &Context<'_, '_>, name: &Name) -> Option<IpAddr> {
    let found = context.shared.get(name.as_str())?;
    let weight = found.entry.text?.weight?.0;
    (weight == 0).then_some(found.address?.value.0)
}
