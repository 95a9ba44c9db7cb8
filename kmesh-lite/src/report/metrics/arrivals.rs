//! Series of connections that arrived.

use super::family::{counter, family};
use super::sums::Labels;
use crate::report::arrivals::Arrived;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::collections::BTreeMap;
use std::fmt;

/// What a client has for a locality that the mesh does not know.
const UNKNOWN: &str = "unknown";

pub fn arrivals(to: &mut DescriptorEncoder<'_>, arrived: &BTreeMap<Arrived, u64>) -> fmt::Result {
    if arrived.is_empty() {
        return Ok(());
    }
    let help = "Connections that arrived at endpoints on this host, by the locality of the client; an endpoint of several services counts for each, because only the client knows which it asked for.";
    let name = "inbound_connections";
    let mut family = family(to, name, None, MetricType::Counter, help)?;
    for (whose, count) in arrived {
        let locality = whose.locality.as_deref().unwrap_or(UNKNOWN);
        let labels: Labels = vec![
            ("service", whose.service.clone()),
            ("endpoint", whose.endpoint.to_string()),
            ("source_locality", locality.to_owned()),
        ];
        counter(&mut family, &labels, *count)?;
    }
    Ok(())
}
