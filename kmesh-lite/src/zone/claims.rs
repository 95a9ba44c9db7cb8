//! Which names a service claims, and what they have.

use super::MadeOf;
use super::name::{LONGEST, below, label_of, labels, reverse, service_name};
use super::records::{NameRecords, ServiceRecord};
use crate::model::{
    Endpoint, Family, Membership, Mesh, Name, OnAllDown, Policy, PortMapping, Service, Standing,
    Standings, priority, standing_by,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Records of one kind that a name has at most: an answer is no longer than 64 KiB.
const MOST: usize = 500;

/// Which claim to a name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The name of the service, or what follows from its hostnames and addresses.
    Own,
    /// That of an endpoint.
    Endpoint,
    /// An endpoint by its address.
    Address,
}

/// That a name is a service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub rank: Rank,
    pub service: Name,
    pub records: Arc<NameRecords>,
}

/// All that claim one name, the one that counts first. Nearly always there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(Arc<[Claim]>);

impl Claims {
    pub fn new(claim: Claim) -> Self {
        Self([claim].into())
    }

    /// The claim that counts.
    pub fn first(&self) -> &Claim {
        // There is one at least: see `new` and `without`.
        &self.0[0]
    }

    pub fn winner(&self) -> &Arc<NameRecords> {
        &self.first().records
    }

    pub fn has(&self, claim: &Claim) -> bool {
        self.0.contains(claim)
    }

    /// Takes the place of another claim of the service. Tells whether something else counts now.
    pub fn put(&mut self, claim: Claim) -> bool {
        let before = Arc::clone(self.winner());
        let others = self.0.iter().filter(|it| it.service != claim.service);
        let mut all: Vec<_> = others.cloned().chain([claim.clone()]).collect();
        all.sort_by(|a, b| (a.rank, &a.service).cmp(&(b.rank, &b.service)));
        self.0 = all.into();
        *self.winner() != before
    }

    /// None if nobody else has one.
    pub fn without(&self, service: &Name) -> Option<Self> {
        let others = self.0.iter().filter(|it| it.service != *service);
        let others: Vec<_> = others.cloned().collect();
        (!others.is_empty()).then(|| Self(others.into()))
    }
}

/// What endpoints are called: the entries of `[endpoints]`, by their address or DNS name. Names that are none in DNS are left
/// out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Titles {
    endpoint_names: Arc<BTreeMap<Name, IpAddr>>,
    dns_names: Arc<BTreeMap<Name, Arc<str>>>,
    by_address: Arc<BTreeMap<IpAddr, Vec<Box<str>>>>,
    by_name: Arc<BTreeMap<Arc<str>, Vec<Box<str>>>>,
}

impl Titles {
    pub fn of(mesh: &Mesh) -> Self {
        let mut by_address: BTreeMap<_, Vec<Box<str>>> = BTreeMap::new();
        let mut by_name: BTreeMap<_, Vec<Box<str>>> = BTreeMap::new();
        for (name, address) in &mesh.endpoint_names {
            if let Ok(label) = labels(name.as_str()) {
                by_address.entry(*address).or_default().push(label.into());
            }
        }
        for (name, dns) in &mesh.dns_names {
            if let Ok(label) = labels(name.as_str()) {
                by_name
                    .entry(Arc::clone(dns))
                    .or_default()
                    .push(label.into());
            }
        }
        Self {
            endpoint_names: Arc::new(mesh.endpoint_names.clone()),
            dns_names: Arc::new(mesh.dns_names.clone()),
            by_address: Arc::new(by_address),
            by_name: Arc::new(by_name),
        }
    }

    /// Whether a mesh has the same ones.
    pub fn are_of(&self, mesh: &Mesh) -> bool {
        *self.endpoint_names == mesh.endpoint_names && *self.dns_names == mesh.dns_names
    }

    fn of_endpoint(&self, endpoint: &Endpoint) -> &[Box<str>] {
        let titles = match &endpoint.of_name {
            Some(of_name) => self.by_name.get(&of_name.name),
            None => self.by_address.get(&endpoint.address),
        };
        titles.map_or(&[], Vec::as_slice)
    }
}

/// Names with what they have.
type Claimed = BTreeMap<Arc<str>, (Rank, NameRecords)>;

/// What a service claims. Nothing if there is none.
pub fn claims_of(name: &Name, now: &MadeOf) -> Claimed {
    let Some(service) = now.services.get(name) else {
        return Claimed::new();
    };
    let one = One {
        service,
        standings: now.standings.get(name).map(|it| &**it),
        now,
        vips: now.vips.of(name),
    };
    one.claims(service_name(name.as_str(), &now.domain).ok())
}

struct One<'a> {
    service: &'a Service,
    standings: Option<&'a Standings>,
    now: &'a MadeOf,
    vips: &'a [IpAddr],
}

impl<'a> One<'a> {
    fn claims(&self, own: Option<String>) -> Claimed {
        let mut claims = Claimed::new();
        let own: Option<Arc<str>> = own.map(Arc::from);
        let hostnames = self.service.hostnames.iter().map(|name| Arc::from(&**name));
        let names: Vec<Arc<str>> = own.into_iter().chain(hostnames).collect();
        let single = names.iter().filter(|name| !name.starts_with("*."));
        let single: Vec<_> = single.map(Arc::clone).collect();
        let usable = match self.service.headless {
            true => self.usable(),
            false => Vec::new(),
        };
        let addresses = match self.service.headless {
            true => addresses(&usable),
            false => vec![self.vips.to_vec()],
        };
        for name in &names {
            let records = NameRecords {
                addresses: addresses
                    .iter()
                    .filter(|it| !it.is_empty())
                    .cloned()
                    .collect(),
                ..NameRecords::default()
            };
            claims.insert(Arc::clone(name), (Rank::Own, records));
        }
        // What follows is below a name, or leads to one.
        let Some(base) = single.first() else {
            return claims;
        };
        for (name, records) in self.endpoints(base) {
            claims.entry(name).or_insert((Rank::Endpoint, records));
        }
        if self.service.headless {
            for endpoint in &self.service.endpoints {
                if let Ok(name) = below(&label_of(endpoint.address), base) {
                    let records = of_address(endpoint.address);
                    claims
                        .entry(name.into())
                        .or_insert((Rank::Address, records));
                }
            }
        }
        for name in &single {
            for port in &self.service.ports {
                let services = match self.service.headless {
                    true => self.behind(base, port, &usable),
                    false => vec![ServiceRecord {
                        priority: 0,
                        weight: 0,
                        port: port.port,
                        target: Arc::clone(name),
                    }],
                };
                for at in self.port_names(port, name) {
                    let records = NameRecords {
                        services: services.clone(),
                        ..NameRecords::default()
                    };
                    claims.insert(at, (Rank::Own, records));
                }
            }
        }
        for vip in self.vips {
            let records = NameRecords {
                pointer: Some(Arc::clone(base)),
                ..NameRecords::default()
            };
            claims.insert(reverse(*vip).into(), (Rank::Own, records));
        }
        claims
    }

    /// Where SRV records of a port are: `_80._tcp.NAME`, and `_http._tcp.NAME` if it is called `http`.
    fn port_names(&self, port: &PortMapping, name: &str) -> Vec<Arc<str>> {
        let called = self.service.port_names.get(&(port.protocol, port.port));
        let number = port.port.to_string();
        let all = [Some(&*number), called.map(|called| &**called)];
        let all = all.into_iter().flatten();
        let all = all.map(|it| format!("_{it}._{}.{name}", port.protocol));
        all.filter(|name| name.len() <= LONGEST)
            .map(Arc::from)
            .collect()
    }

    /// `ENDPOINT.NAME`, whatever its state: who asks for one endpoint means it.
    fn endpoints(&self, base: &str) -> BTreeMap<Arc<str>, NameRecords> {
        let mut all: BTreeMap<Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
        for endpoint in &self.service.endpoints {
            for title in self.now.titles.of_endpoint(endpoint) {
                if let Ok(name) = below(title, base) {
                    all.entry(name.into()).or_default().insert(endpoint.address);
                }
            }
        }
        let records = all.into_iter().map(|(name, addresses)| {
            let records = NameRecords {
                addresses: vec![addresses.into_iter().take(MOST).collect()],
                ..NameRecords::default()
            };
            (name, records)
        });
        records.collect()
    }

    fn standing(&self, endpoint: &Endpoint) -> Standing {
        let standing = self
            .standings
            .and_then(|all| all.get(&Membership::from(endpoint)));
        standing.copied().unwrap_or_default()
    }

    fn takes(&self, endpoint: &Endpoint) -> bool {
        self.standing(endpoint).takes(endpoint.weight)
    }

    /// Endpoints that take new connections, by how near they are, as the policy allows them.
    fn usable(&self) -> Vec<Vec<&'a Endpoint>> {
        let service = self.service;
        let standing_by = match service.named.iter().any(|named| named.is_srv) {
            true => standing_by(&service.endpoints, |it| self.takes(it)),
            false => BTreeSet::new(),
        };
        let places = service.endpoints.iter().enumerate();
        let counting = places.filter(|(place, _)| !standing_by.contains(place));
        let mut near: BTreeMap<usize, Vec<&Endpoint>> = BTreeMap::new();
        for (_, endpoint) in counting {
            let priority = match service.policy {
                Policy::Random => 0,
                _ => priority(&service.prefer, &self.now.node, &endpoint.place),
            };
            if priority == 0 || service.policy == Policy::Failover {
                near.entry(priority).or_default().push(endpoint);
            }
        }
        let mut all: Vec<_> = near.into_values().collect();
        let uses_all = |family| {
            let mut of_family = all.iter().flatten();
            service.on_all_down == OnAllDown::UseAll
                && !of_family.any(|it| Family::from(it.address) == family && self.takes(it))
        };
        let (v4, v6) = (uses_all(Family::V4), uses_all(Family::V6));
        for endpoints in &mut all {
            endpoints.retain(|it| {
                let standing = self.standing(it);
                let anyway = match Family::from(it.address) {
                    Family::V4 => v4,
                    Family::V6 => v6,
                };
                let is_meant = standing.down.is_some_and(|down| down.is_meant());
                let has_weight = standing.weight.unwrap_or(it.weight) > 0;
                self.takes(it) || (anyway && has_weight && !is_meant)
            });
        }
        all.retain(|endpoints| !endpoints.is_empty());
        all
    }

    /// SRV records of the endpoints behind a port.
    fn behind(
        &self,
        base: &str,
        port: &PortMapping,
        usable: &[Vec<&Endpoint>],
    ) -> Vec<ServiceRecord> {
        let ranked = usable.iter().enumerate();
        let ranked =
            ranked.flat_map(|(rank, endpoints)| endpoints.iter().map(move |it| (rank, it)));
        let records = ranked.filter_map(|(rank, endpoint)| {
            let titles = self.now.titles.of_endpoint(endpoint).iter();
            // An entry that is a DNS name has several addresses.
            let titles = titles.filter(|_| endpoint.of_name.is_none());
            let label = titles.map(|title| title.to_string()).next();
            let label = label.unwrap_or_else(|| label_of(endpoint.address));
            let weight = self.standing(endpoint).weight.unwrap_or(endpoint.weight);
            Some(ServiceRecord {
                priority: u16::try_from(rank).unwrap_or(u16::MAX),
                weight: u16::try_from(weight).unwrap_or(u16::MAX),
                port: endpoint.port(port),
                target: below(&label, base).ok()?.into(),
            })
        });
        records.take(MOST).collect()
    }
}

fn of_address(address: IpAddr) -> NameRecords {
    NameRecords {
        addresses: vec![vec![address]],
        ..NameRecords::default()
    }
}

/// Each address once, where it is nearest.
fn addresses(usable: &[Vec<&Endpoint>]) -> Vec<Vec<IpAddr>> {
    let mut seen = BTreeSet::new();
    let lists = usable.iter().map(|endpoints| {
        let new = endpoints.iter().map(|it| it.address);
        let new: BTreeSet<_> = new.collect();
        let new = new.into_iter();
        new.filter(|it| seen.len() < MOST && seen.insert(*it))
            .collect()
    });
    lists.collect()
}
