//! UDP has no first bytes that a header could stand before.

use super::service::{Context, One};
use super::{Diagnostics, Spot, endpoint};
use crate::model::{Header, Name, Protocol, Service};

/// Every UDP port behind a waypoint with a header: such connections would all be refused.
pub fn check(service: &One<'_, '_>, model: &Service, report: &mut Diagnostics) {
    let ports = service.text.ports.0.iter().flat_map(|list| &list.items);
    let mut udp = ports.filter(|item| item.value.0.protocol == Protocol::Udp);
    let Some(port) = udp.next() else { return };
    let port = Spot::new(service.anchor, port.span);
    match &model.waypoint {
        Some(waypoint) => at_service(service, port, waypoint, report),
        None => at_endpoints(service, port, report),
    }
}

fn at_service(service: &One<'_, '_>, port: Spot<'_>, waypoint: &Name, report: &mut Diagnostics) {
    let Some(header) = header(service.context, waypoint) else {
        return;
    };
    let message = format!(
        "UDP cannot carry the header `{header}`, which the waypoint `{waypoint}` needs: every connection to this port would be refused"
    );
    let mut problem = port.error(message);
    if let Some(written) = &service.text.waypoint {
        let place = Spot::new(service.anchor, written.span).place();
        problem = problem.related(place, "the waypoint of the service");
    }
    report.push(
        problem
            .expected("a TCP port, or a waypoint with `header = \"none\"`")
            .help("a service of its own, without this waypoint, can have the UDP port"),
    );
}

fn at_endpoints(service: &One<'_, '_>, port: Spot<'_>, report: &mut Diagnostics) {
    let context = service.context;
    for item in service.text.endpoints.iter().flat_map(|list| &list.items) {
        let address = endpoint::address_of(&item.value, context.shared);
        let Some(waypoint) = address.and_then(|ip| context.at_addresses.waypoint(ip)) else {
            continue;
        };
        let Some(header) = header(context, waypoint) else {
            continue;
        };
        let message = format!(
            "UDP cannot carry the header `{header}`, which the waypoint `{waypoint}` of this endpoint needs: every UDP connection to it would be refused"
        );
        let problem = Spot::new(service.anchor, item.span).error(message);
        report.push(
            problem
                .expected("an endpoint without a waypoint, or one with `header = \"none\"`")
                .related(port.place(), "the UDP port"),
        );
    }
}

/// The header that a waypoint needs, if it needs one.
fn header(context: &Context<'_, '_>, waypoint: &Name) -> Option<Header> {
    let model = context.waypoints.get(waypoint.as_str())?.model.as_ref()?;
    Some(model.header).filter(|header| *header != Header::Nothing)
}
