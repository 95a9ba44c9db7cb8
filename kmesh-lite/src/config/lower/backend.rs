//! Backends, which are written as endpoints.

use super::super::endpoint::SharedEndpoint;
use super::Diagnostics;
use super::endpoint::SharedEndpoints;
use super::merge::Entry;
use super::service::LoweredService;
use crate::model::{Backend, Endpoint, Name};
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What `[endpoints]` says of addresses.
#[derive(Default)]
pub struct AtAddresses<'a> {
    weights: BTreeMap<IpAddr, (&'a Entry<'a, SharedEndpoint>, u32)>,
    waypoints: BTreeMap<IpAddr, Name>,
}

impl<'a> AtAddresses<'a> {
    pub fn new(shared: &SharedEndpoints<'a>) -> Self {
        let mut this = Self::default();
        for found in shared.values() {
            let Some(address) = found.address else {
                continue;
            };
            let weight = found.entry.text.and_then(|text| text.weight);
            if let Some(weight) = weight {
                let weight = (found.entry, weight.0);
                this.weights.insert(address.value.0, weight);
            }
            if let Some(waypoint) = &found.waypoint {
                this.waypoints.insert(address.value.0, waypoint.clone());
            }
        }
        this
    }

    pub fn has_weights(&self) -> bool {
        !self.weights.is_empty()
    }

    /// The weight of an address, and the entry that gives it.
    pub fn weight(&self, ip: IpAddr) -> Option<(&'a Entry<'a, SharedEndpoint>, u32)> {
        self.weights.get(&ip).copied()
    }

    /// The waypoint in front of an address.
    pub fn waypoint(&self, ip: IpAddr) -> Option<&Name> {
        self.waypoints.get(&ip)
    }
}

/// Every address that is an endpoint or captured itself, kept from one load to the next.
#[derive(Clone, Debug, Default)]
pub struct Backends {
    pub all: OrdMap<IpAddr, Backend>,
    /// Uses of an address beyond the first: by another service, by another endpoint of the service, or
    /// because the address is captured. Few addresses have any.
    more: OrdMap<IpAddr, u32>,
    captured: BTreeMap<IpAddr, Name>,
}

impl Backends {
    /// Those of all services, where none are known yet.
    pub fn of<'s>(services: impl Iterator<Item = &'s [Endpoint]>) -> Self {
        let addresses = services.flatten().map(|endpoint| endpoint.address);
        let mut addresses: Vec<IpAddr> = addresses.collect();
        // A stable sort: it takes advantage of each service's endpoints being in order.
        addresses.sort();
        let mut this = Self::default();
        for same in addresses.chunk_by(|a, b| a == b) {
            if let [first, _, ..] = same {
                let more = u32::try_from(same.len() - 1).unwrap_or(u32::MAX);
                this.more.insert(*first, more);
            }
        }
        addresses.dedup();
        // A leaf of the map that overflows is cut in the middle. In ascending order all leaves would stay half
        // full; every second address first, and then the others, fills them: that is half of the memory.
        let second = addresses.iter().skip(1).step_by(2);
        for ip in addresses.iter().step_by(2).chain(second) {
            this.all.insert(*ip, Backend::default());
        }
        this
    }

    fn add(&mut self, ip: IpAddr) {
        if self.all.contains_key(&ip) {
            *self.more.entry(ip).or_default() += 1;
        } else {
            self.all.insert(ip, Backend::default());
        }
    }

    fn remove(&mut self, ip: IpAddr) {
        match self.more.get_mut(&ip) {
            None => drop(self.all.remove(&ip)),
            Some(1) => drop(self.more.remove(&ip)),
            Some(more) => *more -= 1,
        }
    }

    /// Follows the endpoints of a service. Both lists are in order.
    pub fn replace(&mut self, before: &[Endpoint], now: &[Endpoint]) {
        let mut before = before.iter().map(|it| it.address).peekable();
        let mut now = now.iter().map(|it| it.address).peekable();
        loop {
            match (before.peek(), now.peek()) {
                (Some(old), Some(new)) if old == new => {
                    before.next();
                    now.next();
                }
                (Some(old), Some(new)) if new < old => {
                    now.next().into_iter().for_each(|ip| self.add(ip))
                }
                (Some(_), _) => before.next().into_iter().for_each(|ip| self.remove(ip)),
                (None, Some(_)) => now.next().into_iter().for_each(|ip| self.add(ip)),
                (None, None) => break,
            }
        }
    }

    /// Follows the addresses that are captured.
    pub fn capture(&mut self, now: &AtAddresses<'_>) {
        let before = std::mem::replace(&mut self.captured, now.waypoints.clone());
        for ip in before.keys().filter(|ip| !now.waypoints.contains_key(ip)) {
            self.all.insert(*ip, Backend::default());
            self.remove(*ip);
        }
        for (ip, waypoint) in &now.waypoints {
            if !before.contains_key(ip) {
                self.add(*ip);
            }
            if before.get(ip) != Some(waypoint) {
                let waypoint = Some(waypoint.clone());
                self.all.insert(*ip, Backend { waypoint });
            }
        }
    }
}

/// Warns of entries of `[endpoints]` that nothing needs.
pub fn check(
    services: &[LoweredService<'_>],
    shared: &SharedEndpoints<'_>,
    backends: &Backends,
    report: &mut Diagnostics,
) {
    let whole = report.whole && services.iter().all(|service| service.whole);
    if !whole {
        return;
    }
    for (name, found) in shared {
        let Some(address) = found.address else {
            continue;
        };
        if found.waypoint.is_none() && !backends.all.contains_key(&address.value.0) {
            let message = format!("no service uses the endpoint `{name}`");
            report.push(found.entry.spot().warning(message));
        }
    }
}
