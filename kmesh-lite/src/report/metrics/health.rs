//! How endpoints stand.
//!
//! In: what is known of them, and the mesh that has them. Out: a gauge for each endpoint that is checked or that the
//! operator wants something of, and how many there are of each state.

use super::family::{family, gauge};
use crate::model::Mesh;
use crate::report::{Known, endpoint_health};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::collections::BTreeMap;
use std::fmt;

pub fn health(to: &mut DescriptorEncoder<'_>, mesh: &Mesh, known: &Known) -> fmt::Result {
    let all = mesh.services.iter().flat_map(|(name, service)| {
        let endpoints = service.endpoints.iter();
        endpoints.filter_map(move |endpoint| {
            let health = endpoint_health(known, name, service, endpoint)?;
            Some((name, endpoint.title(&service.ports), health))
        })
    });
    let mut all = all.peekable();
    if all.peek().is_none() {
        return Ok(());
    }
    let mut states: BTreeMap<(&str, String), u64> = BTreeMap::new();
    let help = "Whether an endpoint takes new connections, as far as its health and the operator go: 1 or 0. Those \
                that are not checked are left out.";
    let mut usable = family(to, "endpoint_usable", None, MetricType::Gauge, help)?;
    for (name, title, health) in all {
        let labels = [("service", name.as_str()), ("endpoint", &title)];
        gauge(&mut usable, &labels, u32::from(health.usable))?;
        *states.entry((name.as_str(), health.state)).or_default() += 1;
    }
    let help = "Endpoints by how they stand, of those that are checked or that the operator wants something of.";
    let mut endpoints = family(to, "endpoints", None, MetricType::Gauge, help)?;
    for ((service, state), count) in states {
        let labels = [("service", service), ("state", state.as_str())];
        gauge(&mut endpoints, &labels, count)?;
    }
    Ok(())
}
