//! What becomes of connections, with names, for who looks at it every second.

use super::connections::unit;
use super::titles::titles;
use super::traffic::{ByWhom, status};
use crate::api::{NamedTraffic, ServiceTraffic, TrafficSums};
use crate::kernel::Snapshot;
use kmesh_lite_common::{ServiceId, Traffic};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `cgroups` are the paths of those that are there, by id; `now` is in nanoseconds.
pub fn traffic(snapshot: &Snapshot, cgroups: &BTreeMap<u64, PathBuf>, now: u64) -> TrafficSums {
    let tables = &snapshot.tables;
    let by = ByWhom::new(&snapshot.accounts);
    let titles = titles(tables, |id| by.services.contains_key(&id));
    let mut endpoints: BTreeMap<&str, Vec<NamedTraffic>> = BTreeMap::new();
    for (id, sums) in &by.endpoints {
        if let Some(titled) = titles.get(id) {
            let named = named(&titled.endpoint, sums);
            endpoints.entry(&titled.service).or_default().push(named);
        }
    }
    let mut clients: BTreeMap<ServiceId, BTreeMap<String, Traffic>> = BTreeMap::new();
    for ((service, cgroup), sums) in &by.clients {
        // As in metrics: what is of a cgroup that is gone is nobody's.
        let Some(path) = cgroups.get(cgroup) else {
            continue;
        };
        let unit = unit(path);
        let of_service = clients.entry(*service).or_default();
        let client = of_service.entry(unit.unwrap_or_else(|| "other".to_owned()));
        client.or_default().add(sums);
    }
    let services = tables.rows.services.iter().map(|(id, row)| {
        let name = row.name.to_string();
        let connects = snapshot.counters.connects.services.get(id);
        let times = snapshot.accounts.durations.get(&Some(*id));
        let mut connect_times = times.map_or_else(Vec::new, |it| it.connecting.to_vec());
        let used = connect_times.iter().rposition(|count| *count > 0);
        connect_times.truncate(used.map_or(0, |last| last + 1));
        let clients = clients.remove(id).unwrap_or_default();
        ServiceTraffic {
            connects: connects.copied().unwrap_or_default(),
            traffic: by.service(*id),
            connect_times,
            endpoints: endpoints.remove(name.as_str()).unwrap_or_default(),
            clients: clients
                .iter()
                .map(|(name, sums)| named(name, sums))
                .collect(),
            name,
        }
    });
    let mut services: Vec<_> = services.collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    TrafficSums {
        at_seconds: now as f64 / 1e9,
        services,
    }
}

fn named(name: &str, sums: &Traffic) -> NamedTraffic {
    NamedTraffic {
        name: name.to_owned(),
        traffic: status(sums),
    }
}
