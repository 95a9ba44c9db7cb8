//! What the kernel holds, with what only the file knows: localities, and endpoints of weight 0.

use crate::api::{CallerStatus, Counter, EndpointStatus, PriorityStatus, ServiceStatus, TableUse};
use crate::host::Cgroups;
use crate::kernel::Counters;
use crate::model::{self, CgroupRef, Limits, Mesh, Policy, priority};
use crate::tables::{Table, Tables};
use kmesh_lite_common::{BackendId, Endpoint, Frontend, Range, Service, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

pub fn outcomes(counters: &Counters) -> Vec<Counter> {
    let counter = |(outcome, count): (&kmesh_lite_ebpf::Outcome, &u64)| Counter {
        name: outcome.as_str().to_owned(),
        count: *count,
    };
    counters.outcomes.iter().map(counter).collect()
}

pub fn capacity(tables: &Tables, limits: &Limits) -> Vec<TableUse> {
    Table::ALL
        .into_iter()
        .map(|table| TableUse {
            table: table.to_string(),
            used: tables.rows(table) as u32,
            limit: table.limit(limits),
        })
        .collect()
}

/// Who is treated specially, and where those run now.
pub fn callers(cgroups: &Cgroups, mesh: &Mesh) -> Vec<CallerStatus> {
    let found = cgroups.search(mesh.callers().map(|(name, _)| name), |_| ());
    // One unit may be several waypoints.
    let named: BTreeSet<_> = mesh
        .callers()
        .map(|(name, it)| (name, it.as_str()))
        .collect();
    let caller = |(name, treatment): (&CgroupRef, &str)| CallerStatus {
        name: name.to_string(),
        treatment: treatment.to_owned(),
        cgroups: found
            .get(name)
            .into_iter()
            .flatten()
            .map(|cgroup| cgroup.path.display().to_string())
            .collect(),
    };
    named.into_iter().map(caller).collect()
}

/// Services by name.
pub fn services(tables: &Tables, counters: &Counters, mesh: &Mesh) -> Vec<ServiceStatus> {
    let mut frontends: BTreeMap<ServiceId, Vec<&Frontend>> = BTreeMap::new();
    for frontend in tables.frontends.values() {
        if let Some(service) = frontend.service {
            frontends.entry(service).or_default().push(frontend);
        }
    }
    let mut services: Vec<_> = tables
        .services
        .iter()
        .map(|(id, row)| {
            let mut own = frontends.remove(id).unwrap_or_default();
            own.sort_by_key(|frontend| frontend.key);
            let meant = mesh.services.get(row.name.as_str());
            ServiceStatus {
                name: row.name.to_string(),
                frontends: own.into_iter().map(frontend).collect(),
                policy: row.policy.to_string(),
                prefer: meant.map_or_else(Vec::new, |meant| {
                    meant.prefer.iter().map(ToString::to_string).collect()
                }),
                waypoint: waypoint(tables, row.waypoint),
                connects: counters.services.get(id).copied().unwrap_or_default(),
                priorities: priorities(tables, counters, row, meant, mesh),
            }
        })
        .collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

/// `address:port/protocol`, and the port of the endpoint where it is another.
fn frontend(frontend: &Frontend) -> String {
    let address = SocketAddr::new(frontend.key.address.into(), frontend.key.port.get());
    let protocol = frontend.key.protocol;
    if frontend.target == frontend.key.port {
        format!("{address}/{protocol}")
    } else {
        format!("{address}/{protocol} to {}", frontend.target)
    }
}

fn waypoint(tables: &Tables, id: Option<kmesh_lite_common::WaypointId>) -> Option<String> {
    tables.waypoints.get(&id?).map(|row| row.name.to_string())
}

fn priorities(
    tables: &Tables,
    counters: &Counters,
    row: &Service,
    meant: Option<&model::Service>,
    mesh: &Mesh,
) -> Vec<PriorityStatus> {
    let mut priorities: BTreeMap<usize, PriorityStatus> = BTreeMap::new();
    let mut add = |priority, in_use, endpoint| {
        let status = priorities
            .entry(priority)
            .or_insert_with(|| PriorityStatus {
                priority,
                ..PriorityStatus::default()
            });
        status.in_use |= in_use;
        status.endpoints.push(endpoint);
    };
    let place = |address: IpAddr| {
        let endpoints = meant.map_or(&[][..], |meant| &meant.endpoints);
        let endpoint = endpoints
            .iter()
            .find(|endpoint| endpoint.address == address);
        endpoint.map_or_else(String::new, |endpoint| endpoint.place.locality.to_string())
    };
    for (priority, in_use, endpoint) in members(tables, row) {
        let backend = endpoint
            .backend
            .and_then(|id| Some((id, tables.backends.get(&id)?)));
        let Some((id, backend)) = backend else {
            continue;
        };
        let address = IpAddr::from(backend.address);
        add(
            priority,
            in_use,
            EndpointStatus {
                address: address.to_string(),
                locality: place(address),
                weight: endpoint.weight,
                waypoint: waypoint(tables, backend.waypoint),
                connects: counters.backends.get(&id).copied().unwrap_or_default(),
            },
        );
    }
    // Endpoints that take no new connections have no row.
    for endpoint in meant
        .iter()
        .flat_map(|meant| &meant.endpoints)
        .filter(|endpoint| endpoint.weight == 0)
    {
        let here = meant.map_or(0, |meant| match meant.policy {
            Policy::Random => 0,
            _ => priority(&meant.prefer, &mesh.node, &endpoint.place),
        });
        let id = tables
            .backends
            .iter()
            .find(|(_, row)| IpAddr::from(row.address) == endpoint.address);
        let connects = id.and_then(|(id, _): (&BackendId, _)| counters.backends.get(id).copied());
        add(
            here,
            false,
            EndpointStatus {
                address: endpoint.address.to_string(),
                locality: endpoint.place.locality.to_string(),
                weight: 0,
                waypoint: id.and_then(|(_, row)| waypoint(tables, row.waypoint)),
                connects: connects.unwrap_or_default(),
            },
        );
    }
    priorities.into_values().collect()
}

/// Endpoints with their priority, and whether new connections go to that priority.
fn members<'a>(tables: &'a Tables, row: &'a Service) -> Vec<(usize, bool, &'a Endpoint)> {
    let families: &[&[Range]] = if row.v4 == row.v6 {
        &[&row.v4]
    } else {
        &[&row.v4, &row.v6]
    };
    let mut members = Vec::new();
    for ranges in families {
        let filled = ranges
            .iter()
            .enumerate()
            .filter(|(_, range)| range.count > 0);
        for (order, (priority, range)) in filled.enumerate() {
            let in_use = order == 0 && (priority == 0 || row.policy == Policy::Failover);
            let rows = tables.endpoints.get(&range.first).into_iter().flatten();
            members.extend(rows.map(|row| (priority, in_use, row)));
        }
    }
    members
}
