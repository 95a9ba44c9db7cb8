//! Metrics, as Prometheus reads them.
//!
//! In: a snapshot, and what the daemon remembers of its own work. Out: one of the formats that the crate
//! writes. What is counted of endpoints, clients and waypoints is there once a connection was made: a mesh of
//! 100,000 endpoints would be as many series otherwise, of which hardly one ever changes. Families without
//! a series are left out.

mod arrivals;
mod events;
mod process;
mod programs;

use super::arrivals::Arrived;
use super::connections::unit;
use super::status::refusing;
use super::titles::titles;
use super::traffic::{ByWhom, word};
use crate::api::{LogStatus, State};
use crate::host::Usage;
use crate::kernel::Snapshot;
use crate::model::{Limits, Table};
use kmesh_lite_common::{Durations, Ending, ServiceId, Traffic};
use kmesh_lite_ebpf::Outcome;
use process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder,
    NativeHistogram, NativeHistogramBuckets, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

/// Units of clients that have series of their own, for each service; all others share `other`.
const MOST_CLIENTS: usize = 50;

/// What the daemon did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub passes: u64,
    pub failed_passes: u64,
    /// In all passes, in seconds.
    pub pass_seconds: f64,
    /// What passes wrote.
    pub operations: u64,
    /// What passes found changed by somebody else, and put right.
    pub drift: u64,
    /// Connections that were ended because their endpoint was removed.
    pub killed: u64,
    pub reloads: u64,
    pub failed_reloads: u64,
    /// Whether the last reload was applied; `None` before the first.
    pub last_reload: Option<bool>,
    /// When a reload was applied for the last time, in seconds since 1970.
    pub last_applied: Option<f64>,
    /// When the daemon began, the same way.
    pub started: f64,
}

impl History {
    /// Of a daemon that begins now.
    pub fn begun() -> Self {
        Self {
            started: unix_time(),
            ..Self::default()
        }
    }

    /// A configuration was read.
    pub fn reloaded(&mut self, applied: bool) {
        self.reloads += 1;
        self.failed_reloads += u64::from(!applied);
        self.last_reload = Some(applied);
        if applied {
            self.last_applied = Some(unix_time());
        }
    }
}

/// Seconds since 1970.
fn unix_time() -> f64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client that accepts these types is given: the text format, unless it asks for OpenMetrics.
    pub fn accepted(accept: Option<&str>) -> Self {
        let asks = |accept: &str| {
            let mut types = accept.split(',');
            types.any(|it| it.trim_start().starts_with("application/openmetrics-text"))
        };
        if accept.is_some_and(asks) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All there is to tell at a moment.
#[derive(Debug)]
pub struct Metrics {
    pub snapshot: Snapshot,
    /// Paths of the cgroups that there are, by id.
    pub cgroups: BTreeMap<u64, PathBuf>,
    /// What arrived at endpoints on this host.
    pub arrived: BTreeMap<Arrived, u64>,
    /// What the mesh may have.
    pub limits: Limits,
    /// None without a daemon.
    pub history: Option<History>,
    /// The access log and the readers of events; none without a daemon.
    pub events: Option<LogStatus>,
    pub version: String,
    pub commit: String,
    /// How the mesh is, if a daemon says so.
    pub state: Option<State>,
    /// What the daemon takes of the host.
    pub usage: Usage,
}

impl Metrics {
    /// Writes them as they are made.
    pub fn write(self, format: Format, to: &mut dyn Write) -> io::Result<()> {
        let mut registry = Registry::default();
        if let Some(history) = &self.history {
            let process = Process::new(self.usage, history.started);
            registry.register_collector(Box::new(process));
        }
        let own = registry.sub_registry_with_prefix("kmesh_lite");
        own.register_collector(Box::new(self));
        let mut to = Text { to, failed: None };
        let written = match format {
            Format::Prometheus => prometheus_text::encode(&mut to, &registry),
            Format::OpenMetrics => text::encode(&mut to, &registry),
        };
        match (written, to.failed) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(io::Error::other(error)),
        }
    }
}

/// Text for a writer of bytes, whose error is kept.
struct Text<'a> {
    to: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.to.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.about(to)?;
        self.connects(to)?;
        self.tables(to)?;
        if let Some(history) = &self.history {
            work(to, history)?;
        }
        if let Some(events) = &self.events {
            events::events(to, events)?;
        }
        self.connections(to)?;
        arrivals::arrivals(to, &self.arrived)?;
        programs::programs(to, &self.snapshot.runs)
    }
}

const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;

/// Begins a family: counters are called `NAME_total` where it is written.
fn family<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    unit: Option<&'a Unit>,
    kind: MetricType,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, help, unit, kind)
}

fn counter(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    family
        .encode_family(labels)?
        .encode_counter(&value, NO_EXEMPLAR)
}

fn gauge(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(&value)
}

/// A family of one series without labels.
fn single_counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    unit: Option<&Unit>,
    help: &str,
    value: impl EncodeCounterValue,
) -> fmt::Result {
    family(to, name, unit, MetricType::Counter, help)?.encode_counter(&value, NO_EXEMPLAR)
}

fn single_gauge(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    unit: Option<&Unit>,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    family(to, name, unit, MetricType::Gauge, help)?.encode_gauge(&value)
}

/// What the daemon did.
fn work(to: &mut DescriptorEncoder<'_>, history: &History) -> fmt::Result {
    let seconds = &Unit::Seconds;
    if let Some(applied) = history.last_reload {
        let help = "Whether the configuration was applied when it was read last: 1 or 0.";
        single_gauge(
            to,
            "config_last_reload_successful",
            None,
            help,
            u32::from(applied),
        )?;
    }
    if let Some(at) = history.last_applied {
        let help = "When a configuration was applied for the last time, since 1970.";
        single_gauge(
            to,
            "config_last_reload_success_timestamp",
            Some(seconds),
            help,
            at,
        )?;
    }
    let results = [
        (
            "applied",
            history.reloads.saturating_sub(history.failed_reloads),
        ),
        ("refused", history.failed_reloads),
    ];
    let help = "Times that the configuration was read, by what came of it.";
    let mut reloads = family(to, "config_reloads", None, MetricType::Counter, help)?;
    for (result, count) in results {
        counter(&mut reloads, &[("result", result)], count)?;
    }
    single_counter(
        to,
        "passes",
        None,
        "Comparisons of the kernel's tables with what they should hold.",
        history.passes,
    )?;
    single_counter(
        to,
        "connections_killed",
        None,
        "Connections that were ended because their endpoint was removed.",
        history.killed,
    )?;
    single_counter(
        to,
        "passes_failed",
        None,
        "Passes that the kernel refused.",
        history.failed_passes,
    )?;
    single_counter(
        to,
        "pass_duration",
        Some(seconds),
        "Time spent in passes.",
        history.pass_seconds,
    )?;
    single_counter(
        to,
        "operations",
        None,
        "Writes to the kernel.",
        history.operations,
    )?;
    single_counter(
        to,
        "drift_repaired",
        None,
        "Things that somebody else had changed in the kernel, put right.",
        history.drift,
    )
}

impl Metrics {
    fn about(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("version", self.version.as_str()), ("commit", &self.commit)];
        let mut build = family(to, "build", None, MetricType::Info, "What is running.")?;
        build.encode_info(&labels)?;
        if let Some(now) = self.state {
            let help = "How the mesh is: 1 for the state that it is in, 0 for others.";
            let mut states = family(to, "state", None, MetricType::Gauge, help)?;
            for (state, word) in STATES {
                gauge(&mut states, &[("state", word)], u32::from(state == now))?;
            }
        }
        let help = "The generation that the kernel's tables are in: it grows with every plan.";
        single_gauge(to, "generation", None, help, self.snapshot.generation)
    }

    /// What was decided for connects.
    fn connects(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = &self.snapshot.counters;
        let help = "Connects by what was decided, and what became of headers.";
        let mut connects = family(to, "connects", None, MetricType::Counter, help)?;
        for outcome in Outcome::ALL {
            let count = counters.outcomes.get(&outcome).copied().unwrap_or_default();
            counter(&mut connects, &[("outcome", outcome.as_str())], count)?;
        }
        if self.snapshot.tables.rows.services.is_empty() {
            return Ok(());
        }
        let help = "Whether connects to one of its addresses are refused, because the policy leaves no \
                    endpoint: 1 or 0.";
        let mut refuses = family(to, "service_refuses", None, MetricType::Gauge, help)?;
        let refusing = refusing(&self.snapshot.tables);
        for (id, service) in &self.snapshot.tables.rows.services {
            let refuses_now = u32::from(refusing.contains(id));
            let labels = [("service", service.name.to_string())];
            gauge(&mut refuses, &labels, refuses_now)?;
        }
        let help = "Connects that were decided for a service.";
        let mut connects = family(to, "service_connects", None, MetricType::Counter, help)?;
        for (id, service) in &self.snapshot.tables.rows.services {
            let count = counters.connects.services.get(id).copied();
            let name = service.name.to_string();
            counter(
                &mut connects,
                &[("service", name)],
                count.unwrap_or_default(),
            )?;
        }
        Ok(())
    }

    fn tables(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &self.snapshot;
        let used = |table: &Table| snapshot.tables.count(*table) as u64;
        let mut rows = family(to, "table_rows", None, MetricType::Gauge, "Rows in use.")?;
        for table in Table::ALL {
            gauge(&mut rows, &[("table", table.as_str())], used(table))?;
        }
        let listed = snapshot.connections.len() as u64;
        gauge(&mut rows, &[("table", "connections")], listed)?;
        let help = "Rows that there may be; `[limits]` says how many.";
        let mut limits = family(to, "table_rows_limit", None, MetricType::Gauge, help)?;
        for table in Table::ALL {
            gauge(
                &mut limits,
                &[("table", table.as_str())],
                self.limits.of(*table),
            )?;
        }
        gauge(
            &mut limits,
            &[("table", "connections")],
            self.limits.connections,
        )?;
        let help = "Cgroups whose connects are handled.";
        single_gauge(
            to,
            "captured_cgroups",
            None,
            help,
            snapshot.attached.len() as u64,
        )?;
        let help = "Beginnings and endings of connections that are added to their service alone: there is no room for a row.";
        single_counter(to, "unaccounted", None, help, snapshot.accounts.uncounted)
    }

    /// What became of connections.
    fn connections(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by = ByWhom::new(&self.snapshot.accounts);
        let tables = &self.snapshot.tables;
        let service = |id: &ServiceId| tables.name(Table::Services, id.index());
        let services = by.services.iter().filter_map(|(id, sums)| {
            let labels = vec![("service", service(id)?)];
            Some((labels, *sums))
        });
        sums(to, "service", &services.collect::<Vec<_>>())?;
        self.times(to)?;

        let titles = titles(tables, |id| by.services.contains_key(&id));
        let endpoints = by.endpoints.iter().filter_map(|(id, sums)| {
            let titled = titles.get(id)?;
            let labels = vec![
                ("service", titled.service.clone()),
                ("endpoint", titled.endpoint.clone()),
            ];
            Some((labels, *sums))
        });
        sums(to, "endpoint", &endpoints.collect::<Vec<_>>())?;

        let waypoints = by.waypoints.iter().filter_map(|((id, from), sums)| {
            let labels = vec![
                (
                    "service",
                    from.as_ref().and_then(service).unwrap_or_default(),
                ),
                ("waypoint", tables.name(Table::Waypoints, id.index())?),
            ];
            Some((labels, *sums))
        });
        sums(to, "waypoint", &waypoints.collect::<Vec<_>>())?;
        sums(to, "client", &self.clients(&by))
    }

    /// By the unit of the client; those beyond the first few, and programs of no unit, count together. What is of a
    /// cgroup that is gone is nobody's: the numbers of a unit that was restarted begin anew, and if they went to
    /// others, these would seem to have done it all at this moment.
    fn clients(&self, by: &ByWhom) -> Vec<(Labels, Traffic)> {
        let name = |id: &ServiceId| self.snapshot.tables.name(Table::Services, id.index());
        let mut clients: BTreeMap<(String, String), Traffic> = BTreeMap::new();
        let mut known: BTreeMap<ServiceId, usize> = BTreeMap::new();
        for ((service, cgroup), sums) in &by.clients {
            let Some(service_name) = name(service) else {
                continue;
            };
            let Some(path) = self.cgroups.get(cgroup) else {
                continue;
            };
            let unit = unit(path);
            let mut key = (service_name, unit.unwrap_or_else(|| OTHER.to_owned()));
            if !clients.contains_key(&key) && key.1 != OTHER {
                let known = known.entry(*service).or_default();
                *known += 1;
                if *known > MOST_CLIENTS {
                    key.1 = OTHER.to_owned();
                }
            }
            clients.entry(key).or_default().add(sums);
        }
        let labelled = clients.into_iter().map(|((service, client), sums)| {
            (vec![("service", service), ("client", client)], sums)
        });
        labelled.collect()
    }

    /// Histograms by service.
    fn times(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Pick = fn(&Durations, &Traffic) -> ([u64; Durations::BUCKETS], u64);
        let by = ByWhom::new(&self.snapshot.accounts);
        let families: [(&str, &str, Pick); 2] = [
            (
                "service_connect_duration",
                "From the first segment of a connection until it stood, counted at most 15 seconds later.",
                |times, sums| (times.connecting, sums.connecting),
            ),
            (
                "service_connection_duration",
                "From the first segment of a connection that stood until its end.",
                |times, sums| (times.open, sums.open),
            ),
        ];
        if self.snapshot.accounts.durations.is_empty() {
            return Ok(());
        }
        for (name, help, pick) in families {
            let mut family = family(to, name, Some(&Unit::Seconds), MetricType::Histogram, help)?;
            for (id, times) in &self.snapshot.accounts.durations {
                let service = id.and_then(|id| {
                    Some((id, self.snapshot.tables.name(Table::Services, id.index())?))
                });
                let Some((id, service)) = service else {
                    continue;
                };
                let sums = by.services.get(&id).copied().unwrap_or_default();
                let (counts, sum) = pick(times, &sums);
                let labels = [("service", service)];
                histogram(&mut family.encode_family(&labels)?, &counts, sum)?;
            }
        }
        Ok(())
    }
}

const OTHER: &str = "other";

/// The states of a mesh that has a daemon.
const STATES: [(State, &str); 6] = [
    (State::Routing, "routing"),
    (State::Waiting, "waiting"),
    (State::Keeping, "keeping"),
    (State::Failing, "failing"),
    (State::Empty, "empty"),
    (State::Uncaptured, "uncaptured"),
];

type Labels = Vec<(&'static str, String)>;

/// A counter: its name, its unit, what it is, and where it is found.
type Simple<'a> = (&'a str, Option<&'a Unit>, &'a str, fn(&Traffic) -> u64);
/// Counters by reason: their name, what they are, and where they are found.
type Endings = (
    &'static str,
    &'static str,
    fn(&Traffic) -> [u64; Ending::COUNT],
);

/// The families of sums that there are for `whom`.
fn sums(to: &mut DescriptorEncoder<'_>, whom: &str, rows: &[(Labels, Traffic)]) -> fmt::Result {
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
            "Segments that were sent again.",
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

/// Classic buckets, and the same as a native histogram: its bounds of schema 0 are powers of two as well.
fn histogram(
    to: &mut MetricEncoder<'_>,
    counts: &[u64; Durations::BUCKETS],
    nanoseconds: u64,
) -> fmt::Result {
    let bound = |bucket: usize| f64::powi(2.0, bucket as i32 - 20);
    let mut classic = Vec::with_capacity(counts.len());
    let last = counts.len() - 1;
    for (bucket, count) in counts.iter().enumerate() {
        let bound = if bucket == last {
            f64::INFINITY
        } else {
            bound(bucket)
        };
        classic.push((bound, *count));
    }
    let mut before = 0;
    let deltas: Vec<i64> = counts
        .iter()
        .map(|count| {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            count - std::mem::replace(&mut before, count)
        })
        .collect();
    let native = NativeHistogram {
        schema: 0,
        zero_threshold: 0.0,
        zero_count: 0,
        negative: NativeHistogramBuckets {
            spans: &[],
            deltas: &[],
        },
        positive: NativeHistogramBuckets {
            spans: &[(-20, counts.len() as u32)],
            deltas: &deltas,
        },
        created: None,
    };
    let sum = nanoseconds as f64 / 1e9;
    to.encode_histogram_with_native::<NoLabelSet>(sum, counts.iter().sum(), &classic, None, native)
}

#[cfg(test)]
mod tests;
