//! The tables of a mesh out of those of the one before: what differs is built, everything else is shared.

use super::Tables;
use super::auto::{self, Vips};
use super::build::{Builder, Built, guarded_addresses};
use super::endpoint::ranges;
use super::rule;
use super::taken::Taken;
use crate::model::{Facts, Mesh, Name, Service, Source, Table};
use imbl::ordmap::DiffItem;
use kmesh_lite_common::{
    Address, AddressId, AuthorizationId, BackendId, FrontendId, FrontendKey, Port, ServiceId,
    WaypointId,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Built {
    /// What [`super::build`] would give after these tables, which use up `taken`. None where that takes a look at
    /// everything, or where it fails: then `build` tells.
    pub fn next(&self, mesh: &Mesh, facts: &Facts, taken: &Taken) -> Option<Self> {
        let before = &self.mesh;
        // Priorities, automatic addresses and counters of all services depend on them.
        if mesh.node != before.node
            || mesh.vip_ranges != before.vip_ranges
            || mesh.limits != before.limits
        {
            return None;
        }
        let change = Change::between(self, mesh, facts);
        let come = change
            .backends
            .iter()
            .filter(|ip| mesh.backends.contains_key(*ip) && !before.backends.contains_key(*ip));
        let meshes = (before, mesh);
        let vips = auto::next(self.vips.clone(), meshes, &change.services, come.copied())?;
        let mut builder = Builder::new(mesh, facts, &self.tables, taken);
        builder.rows = self.tables.rows.clone();
        builder.endpoints = self.tables.endpoints.clone();
        builder.guarded = self.guarded.clone();
        builder.arrivals = self.arrivals.clone();
        self.take_away(&change, &mut builder, taken);
        change.build(&mut builder, &self.vips, &vips, taken);
        let built = builder.finish(vips);
        fits(&built.tables, mesh).then_some(built)
    }

    /// Takes away what is about to be built again, and what is gone.
    fn take_away(&self, change: &Change<'_>, builder: &mut Builder<'_>, taken: &Taken) {
        for name in &change.waypoints {
            let id = taken.ids.waypoints.get(&name.to_row());
            if let Some(id) = id.copied().and_then(WaypointId::from_index) {
                builder.rows.waypoints.remove(&id);
            }
        }
        for name in &change.policies {
            let id = taken.ids.authorizations.get(&name.to_row());
            if let Some(id) = id.copied().and_then(AuthorizationId::from_index) {
                builder.rows.authorizations.remove(&id);
            }
        }
        for ip in &change.backends {
            let id = taken.ids.backends.get(&Address::from(*ip));
            if let Some(id) = id.copied().and_then(BackendId::from_index) {
                builder.rows.backends.remove(&id);
            }
        }
        for name in &change.services {
            if let Some(service) = self.mesh.services.get(*name) {
                self.take_service_away(name, service, builder, taken);
            }
        }
    }

    fn take_service_away(
        &self,
        name: &Name,
        service: &Service,
        builder: &mut Builder<'_>,
        taken: &Taken,
    ) {
        let id = taken.ids.services.get(&name.to_row());
        let id = id.copied().and_then(ServiceId::from_index);
        if let Some(row) = id.and_then(|id| builder.rows.services.remove(&id)) {
            for range in ranges(&row) {
                builder.endpoints.remove(&range.first);
            }
        }
        for vip in self.vips.of(name) {
            for port in &service.ports {
                let key = FrontendKey::new((*vip).into(), Port::new(port.port), port.protocol);
                let id = taken.ids.frontends.get(&key);
                if let Some(id) = id.copied().and_then(FrontendId::from_index) {
                    builder.rows.frontends.remove(&id);
                }
            }
        }
    }
}

/// What differs between two meshes and their facts, as far as rows depend on it.
struct Change<'a> {
    waypoints: BTreeSet<&'a Name>,
    policies: BTreeSet<&'a Name>,
    /// Whether guards may differ.
    guards: bool,
    backends: BTreeSet<IpAddr>,
    services: BTreeSet<&'a Name>,
    /// Addresses of this host that came or went.
    own_addresses: BTreeSet<IpAddr>,
}

impl<'a> Change<'a> {
    fn between(before: &'a Built, mesh: &'a Mesh, facts: &'a Facts) -> Self {
        let waypoints = before.mesh.waypoints.keys().chain(mesh.waypoints.keys());
        let waypoint = |mesh: &'a Mesh, name: &Name| mesh.waypoints.get(name);
        let differs = |name: &&Name| waypoint(&before.mesh, name) != waypoint(mesh, name);
        let policies = before.mesh.policies.keys().chain(mesh.policies.keys());
        let policy = |mesh: &'a Mesh, name: &Name| mesh.policies.get(name);
        let has_changed = |name: &&Name| policy(&before.mesh, name) != policy(mesh, name);
        let policies: BTreeSet<_> = policies.filter(has_changed).collect();
        let services = before.mesh.services.diff(&mesh.services).map(key);
        let services: BTreeSet<_> = services.collect();
        let (was, is) = (
            before.mesh.guarded_against_clients(),
            mesh.guarded_against_clients(),
        );
        let guarded_anew: Vec<_> = was.symmetric_difference(&is).copied().collect();
        let facts_of_endpoints = before.facts.standings.diff(&facts.standings).map(key);
        let backends = before.mesh.backends.diff(&mesh.backends).map(key);
        let backends: BTreeSet<_> = backends.copied().collect();
        let behind = members_of_moved(&before.mesh, mesh, &backends);
        let (own, now) = (&before.facts.own_addresses, &facts.own_addresses);
        Self {
            waypoints: waypoints.filter(differs).collect(),
            guards: !policies.is_empty()
                || clients_differ(before, mesh, facts)
                || concern(mesh, &services)
                || concern(&before.mesh, &services),
            services: services
                .into_iter()
                .chain(facts_of_endpoints)
                .chain(behind)
                .chain(guarded_anew)
                .collect(),
            policies,
            backends,
            own_addresses: own.symmetric_difference(now).copied().collect(),
        }
    }

    /// Builds in the order in which everything is built, so that new ids are the same.
    fn build(&self, builder: &mut Builder<'_>, before: &Vips, vips: &Vips, taken: &Taken) {
        let mesh = builder.mesh;
        for name in &self.waypoints {
            if let Some(waypoint) = mesh.waypoints.get(*name) {
                builder.waypoint(name, waypoint);
            }
        }
        for name in &self.policies {
            if let Some(policy) = mesh.policies.get(*name) {
                builder.authorization(name, policy);
            }
        }
        let guarded_before = builder.guarded.clone();
        if self.guards {
            builder.guarded = guarded_addresses(mesh).into();
            builder.guards();
        }
        for ip in &self.backends {
            if let Some(backend) = mesh.backends.get(ip) {
                builder.backend(*ip, backend);
            }
        }
        for name in &self.services {
            if let Some(service) = mesh.services.get(*name) {
                builder.service(name, service, vips.of(name));
            }
        }
        let of_services = self.services.iter();
        let of_services = of_services.flat_map(|name| before.of(name).iter().chain(vips.of(name)));
        let mut addresses: BTreeSet<_> = of_services.copied().collect();
        addresses.extend(&self.own_addresses);
        addresses.extend(&self.backends);
        if self.guards {
            addresses.extend(guarded_before.symmetric_difference(&builder.guarded));
        }
        for ip in addresses {
            let captured = mesh.backends.get(&ip);
            let captured = captured.is_some_and(|backend| backend.waypoint.is_some());
            if captured || vips.has(&ip) || builder.guarded.contains(&ip) {
                builder.address(ip);
            } else {
                let id = taken.ids.addresses.get(&Address::from(ip));
                if let Some(id) = id.copied().and_then(AddressId::from_index) {
                    builder.rows.addresses.remove(&id);
                }
            }
        }
    }
}

/// Services with endpoints of which one got a waypoint or lost it: the rows of endpoints say so.
fn members_of_moved<'a>(
    before: &Mesh,
    mesh: &'a Mesh,
    backends: &BTreeSet<IpAddr>,
) -> Vec<&'a Name> {
    let behind = |mesh: &Mesh, ip: &IpAddr| {
        let backend = mesh.backends.get(ip);
        backend.is_some_and(|backend| backend.waypoint.is_some())
    };
    let moved = backends.iter().copied();
    let moved = moved.filter(|ip| behind(before, ip) != behind(mesh, ip));
    let moved: BTreeSet<_> = moved.collect();
    if moved.is_empty() {
        return Vec::new();
    }
    let has_moved = |service: &Service| {
        let mut endpoints = service.endpoints.iter();
        endpoints.any(|endpoint| moved.contains(&endpoint.address))
    };
    let services = mesh.services.iter();
    let services = services.filter(|(_, service)| has_moved(service));
    services.map(|(name, _)| name).collect()
}

/// Whether programs know some client by other numbers than before.
fn clients_differ(before: &Built, mesh: &Mesh, facts: &Facts) -> bool {
    let (was, is) = (before.mesh.clients(), mesh.clients());
    let mut same = was.intersection(&is);
    same.any(|client| rule::differs(client, &before.facts, facts))
}

/// Whether policies say something of any of these services, or of what depends on their endpoints.
fn concern(mesh: &Mesh, services: &BTreeSet<&Name>) -> bool {
    mesh.policies.values().any(|policy| {
        let mut sources = policy.from.iter().flatten();
        let mut about = policy.services.iter();
        !services.is_empty()
            && (about.any(|name| services.contains(name))
                || sources.any(|source| match source {
                    Source::Service(name) => services.contains(name),
                    Source::Locality(_) => true,
                    Source::Network(_) => false,
                }))
    })
}

fn key<'a, K, V>(item: DiffItem<'a, 'a, K, V>) -> &'a K {
    match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
        DiffItem::Update { new: (key, _), .. } => key,
    }
}

/// Whether no table has more rows than the mesh allows.
fn fits(tables: &Tables, mesh: &Mesh) -> bool {
    let mut each = Table::ALL.iter();
    each.all(|table| tables.count(*table) as u64 <= u64::from(mesh.limits.of(*table)))
}
