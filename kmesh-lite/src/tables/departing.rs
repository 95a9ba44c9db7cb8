//! Endpoints that a service has in the tables, and no more in a mesh.

use super::{Listed, Tables, own_ports, ranges, title};
use crate::model::{self, DepartedKey, Mesh, OnRemove, OwnPorts};
use kmesh_lite_common::{EndpointId, Frontend, Service, ServiceId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An endpoint that its service loses, and what then becomes of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departing {
    pub id: EndpointId,
    pub key: DepartedKey,
    /// As the file could name it.
    pub endpoint: String,
    pub on_remove: OnRemove,
    /// Where its connections go: its own address, or that of its waypoint.
    pub peers: BTreeSet<IpAddr>,
}

/// Endpoints whose connections are to end, with the addresses that these go to.
pub type Targets = BTreeMap<EndpointId, BTreeSet<IpAddr>>;

/// The endpoints that services have in `tables` and lose with `mesh`. `on_remove` says what is to become of the
/// connections of a service, or nothing where the service need not be looked at.
pub fn departing(
    tables: &Tables,
    mesh: &Mesh,
    on_remove: impl Fn(&Service) -> Option<OnRemove>,
) -> Vec<Departing> {
    let services = tables.rows.services.iter();
    let concerned: BTreeMap<ServiceId, (&Service, OnRemove)> = services
        .filter_map(|(id, row)| Some((*id, (row, on_remove(row)?))))
        .collect();
    if concerned.is_empty() {
        return Vec::new();
    }
    let mut frontends: BTreeMap<ServiceId, Vec<&Frontend>> = BTreeMap::new();
    for frontend in tables.rows.frontends.values() {
        if let Some(id) = frontend.service
            && concerned.contains_key(&id)
        {
            frontends.entry(id).or_default().push(frontend);
        }
    }
    let mut departing = BTreeMap::new();
    for (id, (row, on_remove)) in concerned {
        let own = frontends.get(&id).map_or(&[][..], Vec::as_slice);
        let meant = mesh.services.get(row.name.as_str());
        for listed in ranges(row).flat_map(|range| tables.listed(range)) {
            let (Some(id), Some(address)) = (listed.id, tables.address(&listed)) else {
                continue;
            };
            let ports = own_ports(own.iter().copied(), &listed);
            if meant.is_some_and(|meant| stays(meant, address, &ports, own)) {
                continue;
            }
            // Families mostly share their ranges.
            departing.entry(id).or_insert_with(|| Departing {
                id,
                endpoint: title(address, &ports, own.iter().map(|it| it.key.port.get())),
                key: DepartedKey {
                    service: row.name.to_string(),
                    address,
                    ports,
                },
                on_remove,
                peers: tables.peers(&listed),
            });
        }
    }
    departing.into_values().collect()
}

/// Whether a service still has an endpoint: one with the same address, and with the same port behind every port
/// that the service has before and after. Where the declared port of a service changes, its endpoints stay.
fn stays(
    service: &model::Service,
    address: IpAddr,
    before: &OwnPorts,
    frontends: &[&Frontend],
) -> bool {
    let first = service.endpoints.partition_point(|it| it.address < address);
    let same = service.endpoints[first..].iter();
    let mut same = same.take_while(|it| it.address == address);
    same.any(|endpoint| {
        service.ports.iter().all(|mapping| {
            let own = before.get(&(mapping.port, mapping.protocol)).copied();
            let is_it = |it: &&&Frontend| {
                (it.key.port.get(), it.key.protocol) == (mapping.port, mapping.protocol)
            };
            let Some(frontend) = frontends.iter().find(is_it) else {
                return true;
            };
            if own.is_none() && endpoint.own_port(mapping).is_none() {
                return true;
            }
            endpoint.port(mapping) == own.unwrap_or(frontend.target.get())
        })
    })
}

impl Tables {
    /// The addresses that connections to an endpoint go to.
    fn peers(&self, listed: &Listed) -> BTreeSet<IpAddr> {
        let backend = listed.backend;
        let Some(row) = backend.and_then(|id| self.rows.backends.get(&id)) else {
            return BTreeSet::new();
        };
        let waypoint = row.waypoint.and_then(|id| self.rows.waypoints.get(&id));
        let waypoint = waypoint.map(|it| it.address.into());
        [row.address.into()].into_iter().chain(waypoint).collect()
    }

    /// What it takes to end the connections of endpoints.
    pub fn targets(&self, endpoints: &BTreeSet<EndpointId>) -> Targets {
        let ranges = self.rows.services.values().flat_map(ranges);
        let listed = ranges.flat_map(|range| self.listed(range));
        let wanted = listed.filter_map(|listed| {
            let id = listed.id.filter(|id| endpoints.contains(id))?;
            Some((id, self.peers(&listed)))
        });
        wanted.collect()
    }

    /// Which of these ids some endpoint has.
    pub fn has_endpoint(&self, wanted: impl Fn(EndpointId) -> bool) -> Vec<EndpointId> {
        let rows = self.endpoints.values().flat_map(|rows| rows.iter());
        let ids = rows.filter_map(|row| row.own.endpoint);
        ids.filter(|id| wanted(*id)).collect()
    }
}
