//! Backends, which are written as endpoints.

use super::Diagnostics;
use super::endpoint::SharedEndpoints;
use super::service::LoweredService as Service;
use crate::model::Backend;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Every address that is an endpoint or captured itself.
pub fn lower(
    services: &[Service<'_>],
    shared: &SharedEndpoints<'_>,
    report: &mut Diagnostics,
) -> BTreeMap<IpAddr, Backend> {
    let mut addresses: Vec<IpAddr> = services
        .iter()
        .flat_map(|service| &service.model.endpoints)
        .map(|endpoint| endpoint.address)
        .collect();
    // A stable sort: it takes advantage of each service's endpoints being in order.
    addresses.sort();
    addresses.dedup();
    let plain = addresses.into_iter().map(|ip| (ip, Backend::default()));
    let mut backends: BTreeMap<_, _> = plain.collect();
    let whole = services.iter().all(|service| service.whole);
    for (name, found) in shared {
        let Some(address) = found.address else {
            continue;
        };
        let waypoint = found.waypoint.clone();
        if waypoint.is_some() {
            backends.insert(address.value.0, Backend { waypoint });
        } else if whole && report.whole && !backends.contains_key(&address.value.0) {
            let message = format!("no service uses the endpoint `{name}`");
            report.push(found.entry.spot().warning(message));
        }
    }
    backends
}
