//! The families of sums of connections: the same ones for services, endpoints, waypoints and clients.

use super::family::{counter, family, gauge};
use crate::report::traffic::word;
use kmesh_lite_common::{Ending, Traffic};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;

/// Of a series: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// A counter: its name, its unit, what it is, and where it is found.
type Simple<'a> = (&'a str, Option<&'a Unit>, &'a str, fn(&Traffic) -> u64);
/// Counters by reason: their name, what they are, and where they are found.
type Endings = (
    &'static str,
    &'static str,
    fn(&Traffic) -> [u64; Ending::COUNT],
);

/// The families of sums that there are for `whom`.
pub fn sums(to: &mut DescriptorEncoder<'_>, whom: &str, rows: &[(Labels, Traffic)]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let named = |what: &str| format!("{whom}_{what}");
    let simple: [Simple<'_>; 5] = [
        (
            "connections_established",
            None,
            "Connections that came to stand.",
            |it| it.established,
        ),
        (
            "sent",
            Some(&Unit::Bytes),
            "What peers have acknowledged, without headers for waypoints.",
            |it| it.sent,
        ),
        (
            "received",
            Some(&Unit::Bytes),
            "What peers have sent.",
            |it| it.received,
        ),
        (
            "retransmits",
            None,
            "Segments that were sent again, also SYNs of attempts that failed.",
            |it| it.retransmits,
        ),
        (
            "rtt_samples",
            None,
            "Smoothed round trip times that are in the sum of these.",
            |it| it.rtts,
        ),
    ];
    for (what, unit, help, of) in simple {
        let name = named(what);
        let mut family = family(to, &name, unit, MetricType::Counter, help)?;
        for (labels, sums) in rows {
            counter(&mut family, labels, of(sums))?;
        }
    }
    let endings: [Endings; 2] = [
        (
            "connections_failed",
            "Attempts that never came to stand, by reason.",
            |it| it.failed,
        ),
        (
            "connections_ended",
            "Connections that stood and have ended, by reason.",
            |it| it.ended,
        ),
    ];
    for (what, help, of) in endings {
        let is_any = |sums: &Traffic| of(sums).iter().any(|count| *count > 0);
        if !rows.iter().any(|(_, sums)| is_any(sums)) {
            continue;
        }
        let name = named(what);
        let mut family = family(to, &name, None, MetricType::Counter, help)?;
        for (labels, sums) in rows {
            let counts = of(sums);
            for (ending, count) in Ending::ALL
                .iter()
                .zip(counts)
                .filter(|(_, count)| *count > 0)
            {
                let mut labels = labels.clone();
                labels.push(("reason", word(*ending)));
                counter(&mut family, &labels, count)?;
            }
        }
    }
    let name = named("connections_active");
    let help = "Connections that stand now.";
    let mut active = family(to, &name, None, MetricType::Gauge, help)?;
    for (labels, sums) in rows {
        gauge(&mut active, labels, sums.active())?;
    }
    let name = named("rtt");
    let help = "Sum of the smoothed round trip times that connections had when they were looked at, and at their end.";
    let mut rtt = family(to, &name, Some(&Unit::Seconds), MetricType::Counter, help)?;
    for (labels, sums) in rows {
        counter(&mut rtt, labels, sums.rtt as f64 / 1e6)?;
    }
    Ok(())
}
