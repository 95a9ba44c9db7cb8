//! Where connections came from that arrived at endpoints on this host.

use super::{Met, Seen, place};
use crate::kernel::Accepted;
use crate::model::{Mesh, Protocol};
use kmesh_lite_common::ArrivalKey;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Where this host serves: the services of each address and port of its own over TCP.
#[derive(Clone, Debug, Default)]
pub struct Served(BTreeMap<SocketAddr, Vec<String>>);

impl Served {
    pub fn of(mesh: &Mesh, own_addresses: &BTreeSet<IpAddr>) -> Self {
        let mut served = Self::default();
        for (name, service) in &mesh.services {
            let own = service
                .endpoints
                .iter()
                .filter(|it| it.address.is_loopback() || own_addresses.contains(&it.address));
            for endpoint in own {
                let tcp = service.ports.iter();
                let tcp = tcp.filter(|mapping| mapping.protocol == Protocol::Tcp);
                for mapping in tcp {
                    let at = SocketAddr::new(endpoint.address, endpoint.port(mapping));
                    let services = served.0.entry(at).or_default();
                    if services.last().is_none_or(|last| last != name.as_str()) {
                        services.push(name.to_string());
                    }
                }
            }
        }
        served
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, local: SocketAddr) -> &[String] {
        self.0.get(&local).map_or(&[], Vec::as_slice)
    }
}

impl Seen {
    /// Takes in what arrived: counts by where it did, which know the addresses of endpoints only, and the connections
    /// that stand. An endpoint of several services is one of each: which of them a client asked for is known on its own
    /// host only.
    pub fn look_at_arrivals(
        &mut self,
        served: &Served,
        counts: &BTreeMap<ArrivalKey, u64>,
        standing: &[Accepted],
        now: u64,
    ) {
        let before = std::mem::take(&mut self.arrived);
        // Whoever counts for the first time has counted before anybody looked.
        let is_first = before.is_empty() && self.sources.is_empty() && self.strangers.is_empty();
        for (key, count) in counts {
            let local = SocketAddr::new(key.local.into(), key.port.get());
            let from = IpAddr::from(key.source);
            let name = format!("{local} {from}");
            let known = before.get(&name).copied().filter(|known| known <= count);
            let more = count - known.unwrap_or(0);
            let at = (known.is_some() || !is_first).then_some(now);
            self.arrived.insert(name, *count);
            for service in served.at(local) {
                match from.is_unspecified() {
                    _ if more == 0 => {}
                    true => {
                        let strangers = self.strangers.entry(service.clone()).or_default();
                        strangers.meet(more, at);
                    }
                    false => self.arrive(service, from, (more, 0), at),
                }
            }
        }
        let mut open: BTreeMap<(&str, IpAddr), u64> = BTreeMap::new();
        for Accepted { local, remote, .. } in standing {
            for service in served.at(*local) {
                *open.entry((service, remote.ip())).or_default() += 1;
            }
        }
        for ((service, from), count) in open {
            self.arrive(service, from, (0, count), Some(now));
        }
    }

    fn arrive(&mut self, service: &str, from: IpAddr, (more, open): (u64, u64), at: Option<u64>) {
        match place(&mut self.sources, service, from) {
            Some(met) => {
                met.meet(more, at);
                *met = Met {
                    connections: met.connections.max(open),
                    ..*met
                };
            }
            None => self.left_out += 1,
        }
    }
}
