//! Metrics of the access log and of the readers of events.

use super::family::{counter, family, single_counter, single_gauge};
use crate::api::LogStatus;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

pub fn events(to: &mut DescriptorEncoder<'_>, events: &LogStatus) -> fmt::Result {
    if events.to.is_some() {
        let help =
            "Lines of the access log since `[access_log]` was changed, by what became of them.";
        let mut lines = family(to, "access_log_lines", None, MetricType::Counter, help)?;
        for (result, count) in [("written", events.written), ("lost", events.lost)] {
            counter(&mut lines, &[("result", result)], count)?;
        }
        let help = "Whether the access log cannot be written: 1 or 0.";
        let failing = u32::from(events.failure.is_some());
        single_gauge(to, "access_log_failing", None, help, failing)?;
    }
    let help = "Events of connections that the kernel's buffer had no room for.";
    single_counter(to, "events_lost", None, help, events.lost_in_kernel)?;
    let help = "Readers of events.";
    let readers = events.readers + events.dns_readers;
    single_gauge(to, "event_readers", None, help, readers as u64)
}
