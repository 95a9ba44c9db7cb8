//! Metrics, as Prometheus reads them.
//!
//! In: a snapshot, and what the daemon remembers of its own work. Out: one of the formats that the crate
//! writes. What is counted of endpoints, clients and waypoints is there once a connection was made: a mesh of
//! 100,000 endpoints would be as many series otherwise, of which hardly one ever changes. Families without
//! a series are left out.

mod arrivals;
mod connections;
mod dns;
mod events;
mod family;
mod format;
mod health;
mod histogram;
mod history;
mod names;
mod process;
mod programs;
mod sums;

pub use format::Format;
pub use history::History;

use super::Known;
use super::arrivals::Arrived;
use super::status::refusing;
use crate::api::{DnsStatus, LogStatus, State};
use crate::host::Usage;
use crate::kernel::Snapshot;
use crate::model::{Limits, Mesh, Table};
use family::{counter, family, gauge, single_counter, single_gauge};
use format::Text;
use history::work;
use kmesh_lite_ebpf::Outcome;
use process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// All there is to tell at a moment.
#[derive(Debug)]
pub struct Metrics {
    pub snapshot: Snapshot,
    /// Paths of the cgroups that there are, by id.
    pub cgroups: BTreeMap<u64, PathBuf>,
    /// The mesh that is held, and what is known of its endpoints; none without a daemon.
    pub endpoints: Option<(Arc<Mesh>, Known)>,
    /// How names are served, if they are.
    pub dns: Option<DnsStatus>,
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
        if let Some((mesh, known)) = &self.endpoints {
            health::health(to, mesh, known)?;
            names::names(to, &known.names)?;
        }
        if let Some(dns) = &self.dns {
            dns::dns(to, dns)?;
        }
        self.connections(to)?;
        arrivals::arrivals(to, &self.arrived)?;
        programs::programs(to, &self.snapshot.runs)
    }
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
        if !self.snapshot.tables.rows.authorizations.is_empty() {
            let help = "Connects, and connections that arrived, that an authorization policy refused; in audit mode those that it would have.";
            let mut refused = family(to, "policy_refusals", None, MetricType::Counter, help)?;
            for (id, row) in &self.snapshot.tables.rows.authorizations {
                let sides = [
                    ("outbound", &counters.connects.authorizations),
                    ("inbound", &counters.arrivals.authorizations),
                ];
                for (direction, counts) in sides {
                    let labels = [
                        ("policy", row.name.to_string()),
                        ("direction", direction.to_owned()),
                        ("action", row.action.to_string()),
                        ("mode", row.mode.to_string()),
                    ];
                    let count = counts.get(id).copied().unwrap_or_default();
                    counter(&mut refused, &labels, count)?;
                }
            }
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
        gauge(&mut limits, &[("table", "flows")], self.limits.flows)?;
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
}

/// The states of a mesh that has a daemon.
const STATES: [(State, &str); 6] = [
    (State::Routing, "routing"),
    (State::Waiting, "waiting"),
    (State::Keeping, "keeping"),
    (State::Failing, "failing"),
    (State::Empty, "empty"),
    (State::Uncaptured, "uncaptured"),
];

#[cfg(test)]
mod tests;
