//! UDP has no first bytes that a header could stand before.

use super::check::Everything;
use super::service::LoweredService;
use super::{Diagnostics, Spot, endpoint};
use crate::model::{Header, Name, Protocol};

/// Every UDP port behind a waypoint with a header: such connections would all be refused.
pub fn check(mesh: &Everything<'_, '_>, report: &mut Diagnostics) {
    for service in mesh.services {
        let ports = service.text.ports.0.iter().flat_map(|list| &list.items);
        let mut udp = ports.filter(|item| item.value.0.protocol == Protocol::Udp);
        let Some(port) = udp.next() else { continue };
        let port = Spot::new(service.fragment, port.span);
        match &service.model.waypoint {
            Some(waypoint) => at_service(mesh, service, port, waypoint, report),
            None => at_endpoints(mesh, service, port, report),
        }
    }
}

fn at_service(
    mesh: &Everything<'_, '_>,
    service: &LoweredService<'_>,
    port: Spot<'_>,
    waypoint: &Name,
    report: &mut Diagnostics,
) {
    let Some(header) = header(mesh, waypoint) else {
        return;
    };
    let message = format!(
        "UDP cannot carry the header `{header}`, which the waypoint `{waypoint}` needs: every connection to this port would be refused"
    );
    let mut problem = port.error(message);
    if let Some(written) = &service.text.waypoint {
        let place = Spot::new(service.fragment, written.span).place();
        problem = problem.related(place, "the waypoint of the service");
    }
    report.push(
        problem
            .expected("a TCP port, or a waypoint with `header = \"none\"`")
            .help("a service of its own, without this waypoint, can have the UDP port"),
    );
}

fn at_endpoints(
    mesh: &Everything<'_, '_>,
    service: &LoweredService<'_>,
    port: Spot<'_>,
    report: &mut Diagnostics,
) {
    for item in service.text.endpoints.iter().flat_map(|list| &list.items) {
        let address = endpoint::address_of(&item.value, mesh.shared);
        let backend = address.and_then(|ip| mesh.backends.get(&ip));
        let Some(waypoint) = backend.and_then(|backend| backend.waypoint.as_ref()) else {
            continue;
        };
        let Some(header) = header(mesh, waypoint) else {
            continue;
        };
        let message = format!(
            "UDP cannot carry the header `{header}`, which the waypoint `{waypoint}` of this endpoint needs: every UDP connection to it would be refused"
        );
        let problem = Spot::new(service.fragment, item.span).error(message);
        report.push(
            problem
                .expected("an endpoint without a waypoint, or one with `header = \"none\"`")
                .related(port.place(), "the UDP port"),
        );
    }
}

/// The header that a waypoint needs, if it needs one.
fn header(mesh: &Everything<'_, '_>, waypoint: &Name) -> Option<Header> {
    let model = mesh.waypoints.get(waypoint.as_str())?.model.as_ref()?;
    Some(model.header).filter(|header| *header != Header::Nothing)
}
