//! Series of what became of connections, by whom they were for.
//!
//! In: the sums of the kernel's rows. Out: families for services, endpoints, waypoints and clients, and
//! histograms for services.

use super::Metrics;
use super::family::family;
use super::histogram::histogram;
use super::sums::{Labels, sums};
use crate::model::Table;
use crate::report::connections::unit;
use crate::report::titles::titles;
use crate::report::traffic::ByWhom;
use kmesh_lite_common::{Durations, ServiceId, Traffic};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt;

/// Units of clients that have series of their own, for each service; all others share `other`.
const MOST_CLIENTS: usize = 50;

const OTHER: &str = "other";

impl Metrics {
    /// What became of connections.
    pub fn connections(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
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
