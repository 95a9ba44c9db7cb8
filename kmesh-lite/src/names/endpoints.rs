//! From records to endpoints.

use super::Answers;
use crate::model::{
    Endpoint, Mesh, NamedEndpoints, OfName, PortMapping, Record, Service, Table, unusable,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Endpoints that all names of a mesh stand for together, whatever the limits are.
pub const MOST_ENDPOINTS: usize = 100_000;

/// Why an address of a name is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing can be there.
    Unusable(&'static str),
    /// A virtual address of the mesh.
    Vip,
    /// One that `auto` may give.
    VipRange,
    /// Probes are sent from an address of the other family.
    Source,
    /// The limits of the mesh are reached.
    Room,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unusable(what) => what,
            Self::Vip => "a virtual address of the mesh",
            Self::VipRange => "an address of `vip_ranges`, which `auto` may give to a service",
            Self::Source => {
                "an address that cannot be probed from `source`, which is of another family"
            }
            Self::Room => "one more than `[limits]` allows",
        })
    }
}

/// How much more there may be.
pub struct Room {
    rows: usize,
    backends: usize,
    endpoints: usize,
}

impl Room {
    /// Of a mesh with so many rows of endpoints.
    pub fn of(mesh: &Mesh, rows: usize) -> Self {
        let limit = |table| mesh.limits.of(table) as usize;
        Self {
            rows: limit(Table::Endpoints).saturating_sub(rows),
            backends: limit(Table::Backends),
            endpoints: MOST_ENDPOINTS,
        }
    }
}

/// The endpoints of a service, and what is none.
pub struct Found {
    pub endpoints: Vec<Endpoint>,
    pub refused: BTreeMap<Arc<str>, BTreeMap<IpAddr, Refusal>>,
}

impl Answers {
    /// The endpoints of a service: those that the file has, and those that answers stand for. `mesh` has the backends
    /// of the services before.
    pub(super) fn endpoints(&self, service: &Service, mesh: &Mesh, room: &mut Room) -> Found {
        let has_v6_clients = self.written.has_v6_clients(service);
        let mut refused: BTreeMap<Arc<str>, BTreeMap<IpAddr, Refusal>> = BTreeMap::new();
        let mut all: BTreeMap<(IpAddr, Vec<PortMapping>), Endpoint> = BTreeMap::new();
        let key = |endpoint: &Endpoint| (endpoint.address, endpoint.ports.clone());
        for endpoint in &service.endpoints {
            all.insert(key(endpoint), endpoint.clone());
        }
        let mut backends = BTreeSet::new();
        for named in &service.named {
            for record in self.records(named) {
                // No client could use it.
                if record.address.is_ipv6() && !has_v6_clients {
                    continue;
                }
                let refusal = self.refusal(named, record.address).or_else(|| {
                    let is_new = !mesh.backends.contains_key(&record.address)
                        && !backends.contains(&record.address);
                    let known = mesh.backends.len() + backends.len();
                    let has_room = room.endpoints > 0 && !(is_new && known >= room.backends);
                    (!has_room).then_some(Refusal::Room)
                });
                if let Some(refusal) = refusal {
                    let of_name = refused.entry(Arc::clone(&named.name)).or_default();
                    of_name.insert(record.address, refusal);
                    continue;
                }
                let endpoint = endpoint(named, record, &service.ports);
                // What the file says itself goes first, and the lowest SRV priority.
                if let std::collections::btree_map::Entry::Vacant(place) = all.entry(key(&endpoint))
                {
                    place.insert(endpoint);
                    if !mesh.backends.contains_key(&record.address) {
                        backends.insert(record.address);
                    }
                    room.endpoints -= 1;
                }
            }
        }
        let mut next = Service {
            endpoints: all.into_values().collect(),
            ..service.clone()
        };
        let own = service.endpoint_rows();
        loop {
            let rows = next.endpoint_rows().saturating_sub(own);
            let beyond = rows.saturating_sub(room.rows);
            let too_many = beyond.div_ceil(next.columns().count());
            let named = next.endpoints.iter().filter(|it| it.of_name.is_some());
            let stay = named.count().saturating_sub(too_many);
            if too_many == 0 {
                break;
            }
            let mut count = 0;
            next.endpoints.retain(|it| {
                let Some(of_name) = &it.of_name else {
                    return true;
                };
                count += 1;
                if count > stay {
                    let of_name = refused.entry(Arc::clone(&of_name.name)).or_default();
                    of_name.insert(it.address, Refusal::Room);
                }
                count <= stay
            });
            if stay == 0 {
                break;
            }
        }
        room.rows -= next.endpoint_rows().saturating_sub(own).min(room.rows);
        Found {
            endpoints: next.endpoints,
            refused,
        }
    }

    /// Why an address that the resolver gave is not to be connected to.
    fn refusal(&self, named: &NamedEndpoints, ip: IpAddr) -> Option<Refusal> {
        let ranges = &self.written.vip_ranges;
        let source = named.like.check.as_ref().and_then(|check| check.source);
        match ip {
            ip if unusable(ip).is_some() => unusable(ip).map(Refusal::Unusable),
            ip if self.vips.contains(&ip) => Some(Refusal::Vip),
            ip if ranges.iter().any(|range| range.contains(ip)) => Some(Refusal::VipRange),
            ip if source.is_some_and(|source| source.is_ipv4() != ip.is_ipv4()) => {
                Some(Refusal::Source)
            }
            _ => None,
        }
    }
}

/// The endpoint that a record stands for.
fn endpoint(named: &NamedEndpoints, record: &Record, ports: &[PortMapping]) -> Endpoint {
    let own = |port: u16| {
        let own = ports.iter().map(move |mapping| PortMapping {
            target: port,
            ..*mapping
        });
        // What says the same as the service is left out.
        own.filter(|own| !ports.contains(own)).collect()
    };
    Endpoint {
        address: record.address,
        ports: match record.port.filter(|_| named.is_srv) {
            Some(port) => own(port),
            None => named.like.ports.clone(),
        },
        weight: match named.is_srv {
            // One of weight 0 is rarely chosen where others have more (RFC 2782).
            true => u32::from(record.weight).max(1),
            false => named.like.weight,
        },
        of_name: Some(OfName {
            name: Arc::clone(&named.name),
            rank: record.rank,
        }),
        ..named.like.clone()
    }
}
