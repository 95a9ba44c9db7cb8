//! DNS names of endpoints.
//!
//! In: what is known of them. Out: for each, whether there is an answer, and how many addresses it has.

use super::family::{family, gauge};
use crate::names::NameState;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

pub fn names(to: &mut DescriptorEncoder<'_>, names: &[NameState]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    let kind = |name: &NameState| if name.is_srv { "srv" } else { "address" };
    let help = "Whether a DNS name of endpoints was answered in full when it was asked for the last time: 1 or 0.";
    let mut answered = family(to, "name_answered", None, MetricType::Gauge, help)?;
    for name in names {
        let labels = [("name", &*name.name), ("kind", kind(name))];
        gauge(&mut answered, &labels, u32::from(name.trouble.is_none()))?;
    }
    let help = "Addresses of a DNS name of endpoints, by the last answer.";
    let mut addresses = family(to, "name_addresses", None, MetricType::Gauge, help)?;
    for name in names {
        let labels = [("name", &*name.name), ("kind", kind(name))];
        gauge(&mut addresses, &labels, name.records.len() as u64)?;
    }
    Ok(())
}
