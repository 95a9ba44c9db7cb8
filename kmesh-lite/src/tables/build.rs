//! The desired tables of a mesh.

use super::ids::Ids;
use super::ranges::Ranges;
use super::{Actual, Table, Tables, alias, auto};
use crate::model::{
    Caller, CallerFact, Endpoint, Facts, Family, Mesh, Name, Policy, Service, priority,
};
use kmesh_lite_common::{
    Address, AddressId, AddressKind, AddressRow, Backend, BackendId, Frontend, FrontendId,
    FrontendKey, PRIORITIES, Port, Range, ServiceId, Waypoint, WaypointId,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Why a valid mesh has no tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error(
        "table `{table}` is too small: the mesh needs {need} rows, the limit is {limit}; raise `[limits] {table}`"
    )]
    Capacity { table: Table, need: u64, limit: u64 },
    #[error(transparent)]
    Vips(#[from] auto::Exhausted),
}

/// Builds the tables that `mesh` wants, keeping the ids and ranges of `actual` wherever they still
/// name the same thing.
pub fn build(mesh: &Mesh, facts: &Facts, actual: &Actual) -> Result<Tables, BuildError> {
    let vips = auto::vips(mesh, &actual.tables)?;
    check_limits(mesh, &vips)?;
    let mut builder = Builder::new(mesh, facts, actual);
    builder.waypoints();
    builder.backends();
    for (name, service) in &mesh.services {
        builder.service(name, service, &vips[name]);
    }
    builder.captured();
    Ok(builder.finish())
}

fn check_limits(mesh: &Mesh, vips: &BTreeMap<Name, Vec<IpAddr>>) -> Result<(), BuildError> {
    let vip_count: usize = vips.values().map(Vec::len).sum();
    let captured = mesh
        .backends
        .values()
        .filter(|backend| backend.waypoint.is_some())
        .count();
    let frontends: usize = mesh
        .services
        .iter()
        .map(|(name, service)| vips[name].len() * service.ports.len())
        .sum();
    let endpoints: usize = mesh
        .services
        .values()
        .map(|service| service.endpoints.len())
        .sum();
    for (table, need) in [
        (Table::Waypoints, mesh.waypoints.len()),
        (Table::Backends, mesh.backends.len()),
        (Table::Endpoints, endpoints),
        (Table::Services, mesh.services.len()),
        (Table::Frontends, frontends),
        (Table::Addresses, vip_count + captured),
    ] {
        let (need, limit) = (need as u64, u64::from(table.limit(&mesh.limits)));
        if need > limit {
            return Err(BuildError::Capacity { table, need, limit });
        }
    }
    Ok(())
}

struct Builder<'a> {
    mesh: &'a Mesh,
    facts: &'a Facts,
    actual: &'a Actual,
    waypoint_ids: Ids<kmesh_lite_common::Name>,
    backend_ids: Ids<Address>,
    service_ids: Ids<kmesh_lite_common::Name>,
    frontend_ids: Ids<FrontendKey>,
    address_ids: Ids<Address>,
    ranges: Ranges<'a>,
    tables: Tables,
}

/// Ids come out of indexes below the limits, which are far below the last id there can be.
const ID: &str = "an index below a limit has an id";

impl<'a> Builder<'a> {
    fn new(mesh: &'a Mesh, facts: &'a Facts, actual: &'a Actual) -> Self {
        let now = &actual.tables;
        Self {
            mesh,
            facts,
            actual,
            waypoint_ids: Ids::new(now.waypoints.iter().map(|(id, row)| (row.name, id.index()))),
            backend_ids: Ids::new(
                now.backends
                    .iter()
                    .map(|(id, row)| (row.address, id.index())),
            ),
            service_ids: Ids::new(now.services.iter().map(|(id, row)| (row.name, id.index()))),
            frontend_ids: Ids::new(now.frontends.iter().map(|(id, row)| (row.key, id.index()))),
            address_ids: Ids::new(
                now.addresses
                    .iter()
                    .map(|(id, row)| (row.address, id.index())),
            ),
            ranges: Ranges::new(&now.endpoints),
            tables: Tables::default(),
        }
    }

    fn waypoints(&mut self) {
        for (name, waypoint) in &self.mesh.waypoints {
            let row = Waypoint {
                name: name.to_row(),
                address: waypoint.address.ip().into(),
                port: Port::new(waypoint.address.port()),
                header: waypoint.header,
                speaker: waypoint.speaker,
            };
            let id = WaypointId::from_index(self.waypoint_ids.index(row.name)).expect(ID);
            self.tables.waypoints.insert(id, row);
        }
    }

    fn waypoint_id(&self, name: &Option<Name>) -> Option<WaypointId> {
        let index = self.waypoint_ids.get(&name.as_ref()?.to_row())?;
        WaypointId::from_index(index)
    }

    fn backends(&mut self) {
        let mut rows = Vec::with_capacity(self.mesh.backends.len());
        for (ip, backend) in &self.mesh.backends {
            let row = Backend {
                address: (*ip).into(),
                waypoint: self.waypoint_id(&backend.waypoint),
            };
            let id = BackendId::from_index(self.backend_ids.index(row.address)).expect(ID);
            rows.push((id, row));
        }
        self.tables.backends = rows.into_iter().collect();
    }

    fn service(&mut self, name: &Name, service: &Service, vips: &[IpAddr]) {
        let row_name = name.to_row();
        let id = ServiceId::from_index(self.service_ids.index(row_name)).expect(ID);
        let old = self.actual.tables.services.get(&id);
        let (v4, v6) = by_family(&service.endpoints);
        let v4_ranges = self.priorities(service, &v4, old.map(|row| &row.v4));
        // Without IPv6 endpoints, IPv6 clients share the ranges of IPv4 ones.
        let v6_ranges = if v6.is_empty() {
            v4_ranges
        } else {
            self.priorities(service, &v6, old.map(|row| &row.v6))
        };
        self.tables.services.insert(
            id,
            kmesh_lite_common::Service {
                name: row_name,
                policy: service.policy,
                waypoint: self.waypoint_id(&service.waypoint),
                v4: v4_ranges,
                v6: v6_ranges,
            },
        );
        for vip in vips {
            let address = Address::from(*vip);
            for port in &service.ports {
                let key = FrontendKey::new(address, Port::new(port.port), port.protocol);
                let frontend = FrontendId::from_index(self.frontend_ids.index(key)).expect(ID);
                self.tables
                    .frontends
                    .insert(frontend, Frontend::new(key, id, Port::new(port.target)));
            }
            self.address(*vip);
        }
    }

    /// One range for each priority, of the endpoints that take new connections.
    fn priorities(
        &mut self,
        service: &Service,
        endpoints: &[&Endpoint],
        old: Option<&[Range; PRIORITIES]>,
    ) -> [Range; PRIORITIES] {
        let mut members: [Vec<(BackendId, u32)>; PRIORITIES] = Default::default();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.weight > 0) {
            let priority = match service.policy {
                Policy::Random => 0,
                _ => priority(&service.prefer, &self.mesh.node, &endpoint.place),
            };
            let index = self.backend_ids.index(endpoint.address.into());
            members[priority].push((BackendId::from_index(index).expect(ID), endpoint.weight));
        }
        let mut ranges = [Range::default(); PRIORITIES];
        for (priority, members) in members.iter().enumerate() {
            if members.is_empty() {
                continue;
            }
            let (rows, total) = alias::rows(members);
            let count = rows.len() as u32;
            let first = self.ranges.place(rows, old.map(|old| old[priority].first));
            ranges[priority] = Range {
                first,
                count,
                total,
            };
        }
        ranges
    }

    /// Backends that are captured at their own address.
    fn captured(&mut self) {
        for (ip, backend) in &self.mesh.backends {
            if backend.waypoint.is_some() {
                self.address(*ip);
            }
        }
    }

    fn address(&mut self, ip: IpAddr) {
        let address = Address::from(ip);
        let backend = self.mesh.backends.get(&ip);
        let real = backend.is_some() || ip.is_loopback() || self.facts.own_addresses.contains(&ip);
        let captured = backend.is_some_and(|backend| backend.waypoint.is_some());
        let row = AddressRow {
            address,
            kind: if real {
                AddressKind::Real
            } else {
                AddressKind::Virtual
            },
            backend: if captured {
                self.backend_ids
                    .get(&address)
                    .and_then(BackendId::from_index)
            } else {
                None
            },
        };
        let id = AddressId::from_index(self.address_ids.index(address)).expect(ID);
        self.tables.addresses.insert(id, row);
    }

    fn finish(mut self) -> Tables {
        self.tables.endpoints = self.ranges.placed;
        (self.tables.callers, self.tables.caller_levels) = callers(self.facts);
        self.tables
    }
}

/// Callers by cgroup, and the levels of the cgroup tree at which they are looked up.
pub fn callers(facts: &Facts) -> (BTreeMap<u64, Caller>, u32) {
    let facts = &facts.callers;
    let level = |fact: &CallerFact| {
        let level = fact.level;
        level.map_or(u32::MAX, |level| 1u32.checked_shl(level).unwrap_or(0))
    };
    let callers = facts.iter().map(|(cgroup, fact)| (*cgroup, fact.caller));
    let levels = facts.values().map(level).fold(0, |all, one| all | one);
    (callers.collect(), levels)
}

/// Endpoints for IPv4 clients, and for IPv6 clients.
fn by_family(endpoints: &[Endpoint]) -> (Vec<&Endpoint>, Vec<&Endpoint>) {
    endpoints
        .iter()
        .partition(|endpoint| Family::from(endpoint.address) == Family::V4)
}
