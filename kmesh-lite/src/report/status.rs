//! What the kernel holds, with what only the file knows: localities, and endpoints of weight 0.

use super::count;
use super::health::{Known, endpoint_health};
use super::open::Open;
use super::traffic::ByWhom;
use crate::api::{
    CallerStatus, Counter, DatapathStatus, EndpointStatus, Failure, PolicyStatus, PriorityStatus,
    ServiceStatus, State, Status, TableUse,
};
use crate::kernel::Snapshot;
use crate::model::{self, CgroupRef, Facts, Limits, Mesh, OwnPorts, Policy, Table, priority};
use crate::tables::{Counters, Listed, Tables, filled, own_ports, title, uses_all};
use kmesh_lite_common::{
    Authorization, AuthorizationId, Family, Frontend, Protocol, Service, ServiceId, WaypointId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What the kernel holds, in the words of `mesh`: the last one that was applied, if there is one.
pub fn status(
    snapshot: &Snapshot,
    mesh: Option<&Mesh>,
    facts: &Facts,
    known: &Known,
) -> DatapathStatus {
    let attached = snapshot.attached.iter();
    let absent = mesh.map_or_else(Vec::new, |mesh| super::absent(mesh, facts));
    let nothing = Mesh::default();
    let limits = mesh.map(|mesh| mesh.limits);
    let mesh = mesh.unwrap_or(&nothing);
    DatapathStatus {
        attached: attached.map(|path| path.display().to_string()).collect(),
        absent,
        callers: callers(mesh, facts),
        services: services(snapshot, mesh, facts, known),
        policies: policies(snapshot),
        outcomes: outcomes(&snapshot.counters),
        capacity: capacity(snapshot, limits),
    }
}

/// The status of tables whose daemon does not run or does not answer, as `why` says. Localities,
/// endpoints of weight 0 and the units of
/// special callers stay unknown, because only the file has them.
pub fn unattended(snapshot: &Snapshot, why: &str, name: Option<&str>) -> Result<Status, Failure> {
    let mut datapath = status(snapshot, None, &Facts::default(), &Known::default());
    let verdict = format!(
        "{why}; the kernel goes on with {} over {}",
        count(datapath.services.len(), "service"),
        count(datapath.endpoints(), "endpoint")
    );
    datapath.show_only(name)?;
    Ok(Status {
        state: State::Unattended,
        verdict,
        failure: None,
        config: None,
        last_reload: None,
        last_pass: None,
        trial: None,
        lockouts: Vec::new(),
        departed: Vec::new(),
        orders: Vec::new(),
        names: Vec::new(),
        events: None,
        datapath,
        daemon: None,
        agent: None,
        dns: None,
    })
}

/// Authorization policies, by name.
fn policies(snapshot: &Snapshot) -> Vec<PolicyStatus> {
    let connects = &snapshot.counters.connects.authorizations;
    let arrivals = &snapshot.counters.arrivals.authorizations;
    let policy = |(id, row): (&AuthorizationId, &Authorization)| PolicyStatus {
        name: row.name.to_string(),
        action: row.action.to_string(),
        mode: row.mode.to_string(),
        connects: connects.get(id).copied().unwrap_or_default(),
        arrivals: arrivals.get(id).copied().unwrap_or_default(),
        last: None,
    };
    let rows = snapshot.tables.rows.authorizations.iter();
    let mut policies: Vec<_> = rows.map(policy).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies
}

fn outcomes(counters: &Counters) -> Vec<Counter> {
    let counter = |(outcome, count): (&kmesh_lite_ebpf::Outcome, &u64)| Counter {
        name: outcome.as_str().to_owned(),
        count: *count,
    };
    counters.outcomes.iter().map(counter).collect()
}

/// The limits of a mesh are known only to the file; that of connections is the table that there is.
fn capacity(snapshot: &Snapshot, limits: Option<Limits>) -> Vec<TableUse> {
    let room = &snapshot.room;
    let used = |table: &Table| TableUse {
        table: table.to_string(),
        used: snapshot.tables.count(*table) as u32,
        room: room.of(*table),
        limit: limits.map(|limits| limits.of(*table)),
    };
    let connections = TableUse {
        table: "connections".to_owned(),
        used: snapshot.connections.len() as u32,
        room: room.connections,
        limit: Some(room.connections),
    };
    Table::ALL.iter().map(used).chain([connections]).collect()
}

/// Callers that are treated specially, and where those run now.
fn callers(mesh: &Mesh, facts: &Facts) -> Vec<CallerStatus> {
    // One unit may be several waypoints.
    let named: BTreeSet<_> = mesh
        .callers()
        .map(|(name, it)| (name, it.as_str()))
        .collect();
    let caller = |(name, treatment): (&CgroupRef, &str)| CallerStatus {
        name: name.to_string(),
        treatment: treatment.to_owned(),
        cgroups: facts
            .cgroups(name)
            .iter()
            .map(|cgroup| cgroup.path.display().to_string())
            .collect(),
    };
    named.into_iter().map(caller).collect()
}

/// Services by name.
fn services(snapshot: &Snapshot, mesh: &Mesh, facts: &Facts, known: &Known) -> Vec<ServiceStatus> {
    let tables = &snapshot.tables;
    let mut frontends: BTreeMap<ServiceId, Vec<&Frontend>> = BTreeMap::new();
    for frontend in tables.rows.frontends.values() {
        if let Some(service) = frontend.service {
            frontends.entry(service).or_default().push(frontend);
        }
    }
    let view = View {
        facts,
        tables,
        counters: &snapshot.counters,
        open: Open::count(&snapshot.connections),
        traffic: ByWhom::new(&snapshot.accounts),
        mesh,
        known,
    };
    let rows = tables.rows.services.iter();
    let mut services: Vec<_> = rows
        .map(|(id, row)| view.service(*id, row, frontends.remove(id).unwrap_or_default()))
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

/// Services of which some frontend refuses connects, because the policy leaves no endpoint.
pub(super) fn refusing(tables: &Tables) -> BTreeSet<ServiceId> {
    let frontends = tables.rows.frontends.values();
    let refused = frontends.filter_map(|frontend| {
        let id = frontend.service?;
        let row = tables.rows.services.get(&id)?;
        (row.waypoint.is_none() && refuses(row, frontend)).then_some(id)
    });
    refused.collect()
}

/// Whether the policy leaves no endpoint for connects to a frontend.
fn refuses(row: &Service, frontend: &Frontend) -> bool {
    let ranges = match frontend.key.address.family() {
        Family::V4 => &row.v4,
        Family::V6 => &row.v6,
    };
    let nearest = filled(ranges).next().map(|(priority, _)| priority);
    !nearest.is_some_and(|priority| is_in_use(row, 0, priority))
}

/// Whether new connections go to the endpoints at `priority`, the filled one of this number in order. A
/// waypoint of the service takes them instead.
fn is_in_use(row: &Service, order: usize, priority: usize) -> bool {
    let allowed = priority == 0 || row.policy == Policy::Failover;
    order == 0 && allowed && row.waypoint.is_none()
}

struct View<'a> {
    tables: &'a Tables,
    counters: &'a Counters,
    open: Open,
    traffic: ByWhom,
    mesh: &'a Mesh,
    facts: &'a Facts,
    known: &'a Known,
}

impl View<'_> {
    fn service(&self, id: ServiceId, row: &Service, mut own: Vec<&Frontend>) -> ServiceStatus {
        own.sort_by_key(|frontend| frontend.key);
        let refuses = row.waypoint.is_none() && own.iter().any(|frontend| refuses(row, frontend));
        let named = self.mesh.services.get_key_value(row.name.as_str());
        let meant = named.map(|(_, meant)| meant);
        let uses_all = named.is_some_and(|(name, meant)| {
            row.waypoint.is_none() && uses_all(self.mesh, name, meant, self.facts)
        });
        let prefer = meant.iter().flat_map(|meant| &meant.prefer);
        let connects = self.counters.connects.services.get(&id);
        ServiceStatus {
            name: row.name.to_string(),
            frontends: own.iter().copied().map(frontend).collect(),
            policy: row.policy.to_string(),
            prefer: prefer.map(ToString::to_string).collect(),
            waypoint: self.waypoint(row.waypoint),
            connects: connects.copied().unwrap_or_default(),
            open_connections: self.open.of_service(id),
            traffic: self.traffic.service(id),
            refuses,
            uses_all,
            priorities: self.priorities(row, meant.map(Arc::as_ref), &own),
        }
    }

    fn waypoint(&self, id: Option<WaypointId>) -> Option<String> {
        self.tables.name(Table::Waypoints, id?.index())
    }

    fn priorities(
        &self,
        row: &Service,
        meant: Option<&model::Service>,
        frontends: &[&Frontend],
    ) -> Vec<PriorityStatus> {
        let mut priorities: BTreeMap<usize, PriorityStatus> = BTreeMap::new();
        let meant = Meant::new(meant);
        let name = self.mesh.services.get_key_value(row.name.as_str());
        for (priority, in_use, listed) in self.members(row) {
            let Some(address) = self.tables.address(&listed) else {
                continue;
            };
            let own = own_ports(frontends.iter().copied(), &listed);
            let endpoint = meant.find(address, &own);
            // A range may have endpoints of the next priorities, too.
            let priority = match (priority, endpoint) {
                (_, Some((service, endpoint))) => self.priority(service, endpoint),
                (Some(priority), None) => priority,
                // Only the file knows the priority of an endpoint that takes no new connections.
                (None, None) => continue,
            };
            let status = EndpointStatus {
                endpoint: title(address, &own, frontends.iter().map(|it| it.key.port.get())),
                dns: endpoint.and_then(|(_, it)| Some(it.of_name.as_ref()?.name.to_string())),
                address: address.to_string(),
                ports: own.into_iter().map(named).collect(),
                locality: endpoint
                    .map_or_else(String::new, |(_, it)| it.place.locality.to_string()),
                weight: endpoint
                    .zip(name)
                    .map_or(listed.weight, |((_, it), (name, _))| {
                        let ordered = self.known.health.orders.weight(name, it);
                        ordered.unwrap_or(it.weight)
                    }),
                waypoint: self.behind(&listed),
                connects: self.connects(&listed),
                open_connections: self.open.of_endpoint(listed.id),
                traffic: self.traffic.endpoint(listed.id),
                health: endpoint.zip(name).and_then(|((service, it), (name, _))| {
                    endpoint_health(self.known, name, service, it)
                }),
            };
            let of_priority = priorities.entry(priority).or_default();
            of_priority.priority = priority;
            of_priority.in_use |= in_use;
            of_priority.endpoints.push(status);
        }
        priorities.into_values().collect()
    }

    fn priority(&self, service: &model::Service, endpoint: &model::Endpoint) -> usize {
        match service.policy {
            Policy::Random => 0,
            _ => priority(&service.prefer, &self.mesh.node, &endpoint.place),
        }
    }

    /// The waypoint of an endpoint's backend.
    fn behind(&self, listed: &Listed) -> Option<String> {
        let row = self.tables.rows.backends.get(&listed.backend?)?;
        self.waypoint(row.waypoint)
    }

    fn connects(&self, listed: &Listed) -> u64 {
        let connects = listed.id.and_then(|id| self.counters.endpoints.get(&id));
        connects.copied().unwrap_or_default()
    }

    /// Endpoints with their priority, and whether new connections go to that priority. Those of weight 0
    /// have none.
    fn members(&self, row: &Service) -> Vec<(Option<usize>, bool, Listed)> {
        let families: &[_] = if row.v4 == row.v6 {
            &[&row.v4]
        } else {
            &[&row.v4, &row.v6]
        };
        let mut members = Vec::new();
        for ranges in families {
            for (order, (priority, range)) in filled(ranges).enumerate() {
                let in_use = is_in_use(row, order, priority);
                let listed = self.tables.listed(range);
                members.extend(listed.map(|listed| (Some(priority), in_use, listed)));
            }
        }
        let drained = self.tables.listed(&row.drained);
        members.extend(drained.map(|listed| (None, false, listed)));
        members
    }
}

/// `80/tcp`, and the endpoint's own port behind it.
fn named(((port, protocol), own): ((u16, Protocol), u16)) -> (String, u16) {
    (format!("{port}/{protocol}"), own)
}

/// The endpoints of a service as the file has them, to be found by what the tables know of them.
struct Meant<'a> {
    service: Option<&'a model::Service>,
    endpoints: BTreeMap<(IpAddr, OwnPorts), &'a model::Endpoint>,
}

impl<'a> Meant<'a> {
    fn new(service: Option<&'a model::Service>) -> Self {
        let endpoints = service.iter().flat_map(|service| &service.endpoints);
        let own = |endpoint: &model::Endpoint| {
            let ports = endpoint.ports.iter();
            ports
                .map(|own| ((own.port, own.protocol), own.target))
                .collect()
        };
        Self {
            service,
            endpoints: endpoints
                .map(|endpoint| ((endpoint.address, own(endpoint)), endpoint))
                .collect(),
        }
    }

    fn find(
        &self,
        address: IpAddr,
        own: &OwnPorts,
    ) -> Option<(&'a model::Service, &'a model::Endpoint)> {
        let endpoint = self.endpoints.get(&(address, own.clone()))?;
        Some((self.service?, endpoint))
    }
}

#[cfg(test)]
mod tests;
