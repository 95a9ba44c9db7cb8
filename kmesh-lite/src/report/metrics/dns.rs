//! Serving of names.
//!
//! In: how it is, as the agent last said. Out: what was asked and what came of it, how listeners and upstreams are.

use super::family::{counter, family, gauge, single_gauge};
use crate::api::{DnsStatus, QueryKind};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

pub fn dns(to: &mut DescriptorEncoder<'_>, dns: &DnsStatus) -> fmt::Result {
    let help = "DNS names that the mesh has.";
    single_gauge(to, "dns_names", None, help, dns.names as u64)?;
    let help = "Whether the agent answers questions at an address of `[dns] listen`: 1 or 0.";
    let mut listening = family(to, "dns_listening", None, MetricType::Gauge, help)?;
    for it in &dns.listeners {
        gauge(
            &mut listening,
            &[("listen", &*it.listen)],
            u32::from(it.serving),
        )?;
    }
    if !dns.queries.is_empty() {
        let help = "Questions to the agent by transport, kind of record, and what came of them, since it began.";
        let mut queries = family(to, "dns_queries", None, MetricType::Counter, help)?;
        for it in &dns.queries {
            let labels = [
                ("transport", it.transport.as_str()),
                ("kind", kind(it.kind)),
                ("outcome", it.outcome.as_str()),
            ];
            counter(&mut queries, &labels, it.count)?;
        }
    }
    if let Some(capture) = &dns.capture {
        let help = "Whether questions to other DNS servers are captured at the moment: 1 or 0.";
        single_gauge(to, "dns_capture", None, help, u64::from(capture.on))?;
    }
    let help = "Answers of upstreams that the agent remembers.";
    single_gauge(to, "dns_cached_answers", None, help, dns.cached)?;
    if dns.upstreams.is_empty() {
        return Ok(());
    }
    let help = "Whether an upstream answered the last question to it: 1 or 0.";
    let mut answering = family(to, "dns_upstream_answers", None, MetricType::Gauge, help)?;
    for it in &dns.upstreams {
        gauge(
            &mut answering,
            &[("upstream", &*it.address)],
            u32::from(it.error.is_none()),
        )?;
    }
    let help = "Questions that an upstream was sent.";
    let mut sent = family(to, "dns_upstream_queries", None, MetricType::Counter, help)?;
    for it in &dns.upstreams {
        counter(&mut sent, &[("upstream", &*it.address)], it.sent)?;
    }
    let help = "Questions that an upstream did not answer, or not well.";
    let mut failed = family(to, "dns_upstream_failures", None, MetricType::Counter, help)?;
    for it in &dns.upstreams {
        counter(&mut failed, &[("upstream", &*it.address)], it.failed)?;
    }
    Ok(())
}

const fn kind(kind: QueryKind) -> &'static str {
    match kind {
        QueryKind::A => "a",
        QueryKind::Aaaa => "aaaa",
        QueryKind::Srv => "srv",
        QueryKind::Ptr => "ptr",
        QueryKind::Other => "other",
    }
}
