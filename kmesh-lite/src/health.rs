//! What is known of endpoints: what is to be probed, what was found, and what the operator wants.
//!
//! In: meshes, findings and orders, one after the other. Out: how endpoints stand, as facts for a pass. No I/O here,
//! and no clock: times are given, in nanoseconds of a clock that is never set.

mod ejection;
mod orders;
mod targets;

pub use ejection::{Ejected, EjectionChange, Ejections, Fates};
pub use orders::{Addressee, Order, Orders};
pub use targets::{Target, Targets};

use crate::model::{
    Down, Endpoint, EndpointFact, Membership, Mesh, Name, OperatorState, Service, Standing,
    Standings,
};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was found out about a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub healthy: bool,
    /// Since when it is so.
    pub since: u64,
    /// What the probe saw that decided it.
    pub reason: String,
}

/// Everything that is known of endpoints.
#[derive(Clone, Debug, Default)]
pub struct Health {
    targets: Targets,
    conditions: OrdMap<Target, Condition>,
    pub orders: Orders,
    services: OrdMap<Name, Arc<Service>>,
    /// Endpoints that came back, each with the time, until they have all of their share again.
    coming: BTreeMap<(Name, Membership), u64>,
    ejections: Ejections,
    /// Services that eject endpoints.
    ejecting: BTreeSet<Name>,
    /// When it is to be looked at what became of their connections.
    look_at: u64,
    /// The time that was given last.
    now: u64,
}

/// How often it is looked at what became of connections, while some service ejects endpoints.
const LOOK: u64 = 1_000_000_000;

/// Of its share of connections an endpoint that comes back has so many percent at first, and so many more with each
/// step.
const STEP: u8 = 10;
const STEPS: u64 = ((Standing::WHOLE - STEP) / STEP) as u64;

/// A change of what an endpoint is found to be, to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub target: Target,
    pub condition: Condition,
    /// How long it was otherwise, where that is known.
    pub lasted: Option<u64>,
    pub services: Vec<Name>,
}

impl Health {
    /// Asks what an earlier process knew of the targets that nothing is known of.
    pub fn recall(
        &mut self,
        known: impl Fn(&Target) -> Option<Condition>,
        standings: &mut OrdMap<Name, Arc<Standings>>,
    ) {
        let mut services = BTreeSet::new();
        for (target, members) in self.targets.all() {
            if !self.conditions.contains_key(target)
                && let Some(condition) = known(target)
            {
                self.conditions.insert(target.clone(), condition);
                services.extend(members.iter().map(|(name, _)| name));
            }
        }
        for name in services {
            self.stand(name, standings);
        }
    }

    /// Takes over a mesh, and brings `standings` up to it. Tells whether there is something else to probe now.
    pub fn follow(&mut self, mesh: &Mesh, standings: &mut OrdMap<Name, Arc<Standings>>) -> bool {
        let before = std::mem::replace(&mut self.services, mesh.services.clone());
        let mut changes = false;
        // Those that nothing stands for are forgotten last: a service may have got another name.
        let mut gone = Vec::new();
        for change in before.diff(&mesh.services) {
            let (name, old, new) = match change {
                DiffItem::Add(name, new) => (name, None, Some(new)),
                DiffItem::Remove(name, old) => (name, Some(old), None),
                DiffItem::Update {
                    old: (name, old),
                    new: (_, new),
                } => (name, Some(old), Some(new)),
            };
            match new.and_then(|it| it.eject) {
                Some(_) => self.ejecting.insert(name.clone()),
                None => self.ejecting.remove(name),
            };
            changes |= self.replace(name, old.map(|it| &**it), new.map(|it| &**it), &mut gone);
            self.stand(name, standings);
        }
        if !before.is_empty() {
            let Self {
                services,
                ejections,
                ejecting,
                ..
            } = self;
            ejections.retain(|name, member| {
                let service = services.get(name).filter(|_| ejecting.contains(name));
                service.is_some_and(|service| endpoint_of(service, member).is_some())
            });
        }
        for target in gone {
            if !self.targets.has(&target) {
                self.conditions.remove(&target);
            }
        }
        changes
    }

    /// Follows the endpoints of a service. What is probed in another way from now on is what it was until
    /// that way has found something.
    fn replace(
        &mut self,
        name: &Name,
        old: Option<&Service>,
        new: Option<&Service>,
        gone: &mut Vec<Target>,
    ) -> bool {
        let mut changes = false;
        let mut were: BTreeMap<Membership, Target> = BTreeMap::new();
        for (target, member) in old.iter().flat_map(|service| Target::all_of(service)) {
            were.insert(member, target);
        }
        for (target, member) in new.iter().flat_map(|service| Target::all_of(service)) {
            match were.remove(&member) {
                Some(before) if before == target => continue,
                Some(before) => {
                    if let Some(known) = self.conditions.get(&before).cloned() {
                        self.conditions.entry(target.clone()).or_insert(known);
                    }
                    self.targets.remove(&before, name, &member);
                    gone.push(before);
                }
                None => {}
            }
            self.targets.add(target, name, member);
            changes = true;
        }
        for (member, target) in were {
            self.targets.remove(&target, name, &member);
            gone.push(target);
            changes = true;
        }
        changes
    }

    /// What is to be probed: what stands for an endpoint that the operator does not keep out of service.
    pub fn probed(&self) -> impl Iterator<Item = &Target> {
        self.targets
            .all()
            .filter(|(_, members)| members.iter().any(|(name, it)| self.is_probed(name, it)))
            .map(|(target, _)| target)
    }

    fn is_probed(&self, service: &Name, member: &Membership) -> bool {
        let endpoint = self.endpoint(service, member);
        let state = endpoint.map(|it| self.orders.state(service, it));
        state.is_some_and(|state| state != OperatorState::Maintenance)
    }

    fn endpoint(&self, service: &Name, member: &Membership) -> Option<&Endpoint> {
        endpoint_of(self.services.get(service)?, member)
    }

    /// What is known of a target.
    pub fn condition(&self, target: &Target) -> Option<&Condition> {
        self.conditions.get(target)
    }

    /// What is known of an endpoint of a service; none where it is not probed, or was not yet.
    pub fn condition_of(&self, service: &Service, endpoint: &Endpoint) -> Option<&Condition> {
        self.condition(&Target::of(service, endpoint)?)
    }

    /// Everything that is known of targets.
    pub fn conditions(&self) -> impl Iterator<Item = (&Target, &Condition)> {
        self.conditions.iter()
    }

    /// Takes in what was found of a target. None if that was known; else the facts that follow are added.
    pub fn find(
        &mut self,
        target: &Target,
        condition: Condition,
        facts: &mut Vec<EndpointFact>,
    ) -> Option<Turn> {
        let members = self.targets.members(target)?.clone();
        self.now = condition.since;
        let before = self.conditions.get(target);
        if before.is_some_and(|before| before.healthy == condition.healthy) {
            return None;
        }
        let lasted = before.map(|before| condition.since.saturating_sub(before.since));
        self.conditions.insert(target.clone(), condition.clone());
        let services = members.iter().map(|(name, _)| name.clone());
        let mut services: Vec<_> = services.collect();
        services.dedup();
        for (name, member) in &members {
            self.turned(name, member, condition.healthy && lasted.is_some());
            if condition.healthy {
                self.ejections.readmit(name, member, self.now);
            }
            let service = self.services.get(name);
            if let Some((service, endpoint)) = service.zip(self.endpoint(name, member)) {
                facts.push(EndpointFact {
                    service: name.clone(),
                    endpoint: member.clone(),
                    standing: self.standing(name, service, endpoint),
                });
            }
        }
        Some(Turn {
            target: target.clone(),
            condition,
            lasted,
            services,
        })
    }

    /// How the endpoints of a service stand, after something about it changed.
    pub fn stand(&self, name: &Name, standings: &mut OrdMap<Name, Arc<Standings>>) {
        let service = self.services.get(name);
        let of_service: Standings = service
            .iter()
            .flat_map(|service| service.endpoints.iter().map(move |it| (service, it)))
            .map(|(service, it)| (it, self.standing(name, service, it)))
            .filter(|(_, standing)| *standing != Standing::default())
            .map(|(it, standing)| (Membership::from(it), standing))
            .collect();
        if of_service.is_empty() {
            standings.remove(name);
        } else if standings.get(name).is_none_or(|it| **it != of_service) {
            standings.insert(name.clone(), Arc::new(of_service));
        }
    }

    /// How an endpoint stands.
    pub fn standing(&self, name: &Name, service: &Service, endpoint: &Endpoint) -> Standing {
        let down = match self.orders.state(name, endpoint) {
            OperatorState::Drain => Some(Down::Drain),
            OperatorState::Maintenance => Some(Down::Maintenance),
            OperatorState::Ready if self.is_failing(service, endpoint) => Some(Down::Unhealthy),
            OperatorState::Ready => self.ejected(name, endpoint).map(|_| Down::Ejected),
        };
        Standing {
            down,
            weight: self.orders.weight(name, endpoint),
            share: self.share(name, service, endpoint),
        }
    }

    /// What share of its weight an endpoint has, which may have come back a moment ago.
    fn share(&self, name: &Name, service: &Service, endpoint: &Endpoint) -> u8 {
        // So it is nearly always.
        if self.coming.is_empty() {
            return Standing::WHOLE;
        }
        let since = self.coming.get(&(name.clone(), endpoint.into()));
        let steps = since.zip(service.slow_start).map(|(since, span)| {
            let span = span.as_nanos().max(1);
            let passed = u128::from(self.now.saturating_sub(*since));
            (passed * u128::from(STEPS) / span).min(u128::from(STEPS)) as u8
        });
        steps.map_or(Standing::WHOLE, |steps| STEP + STEP * steps)
    }

    /// An endpoint takes connections again, or does not. One that comes back begins with little.
    fn turned(&mut self, name: &Name, member: &Membership, comes_back: bool) {
        let key = (name.clone(), member.clone());
        let service = self.services.get(name);
        if comes_back && service.is_some_and(|service| service.slow_start.is_some()) {
            self.coming.insert(key, self.now);
        } else {
            self.coming.remove(&key);
        }
    }

    /// Takes orders of a service in, which concern some of its endpoints.
    pub fn order(
        &mut self,
        name: &Name,
        orders: Vec<(Addressee, Order)>,
        concerned: &[&Endpoint],
        now: u64,
    ) {
        self.now = now;
        let is_down = |orders: &Orders, endpoint: &Endpoint| {
            orders.state(name, endpoint) != OperatorState::Ready
        };
        let before = concerned.iter().map(|it| is_down(&self.orders, it));
        let before: Vec<_> = before.collect();
        for (addressee, order) in orders {
            self.orders.set(name.clone(), addressee, order);
        }
        for (endpoint, was_down) in concerned.iter().zip(before) {
            if was_down != is_down(&self.orders, endpoint) {
                self.turned(name, &Membership::from(*endpoint), was_down);
            }
        }
    }

    /// When an endpoint that comes back gets more of its share, or connections are to be looked at.
    pub fn next_step(&self) -> Option<u64> {
        let steps = self.coming.iter().filter_map(|((name, _), since)| {
            let span = self.services.get(name)?.slow_start?.as_nanos() as u64;
            let step = (span / STEPS).max(1);
            let passed = self.now.saturating_sub(*since) / step;
            Some(since + (passed + 1) * step)
        });
        let look = (!self.ejecting.is_empty()).then_some(self.look_at);
        steps.chain(look).min()
    }

    /// Time has passed. Brings `standings` up to it.
    pub fn tick(&mut self, now: u64, standings: &mut OrdMap<Name, Arc<Standings>>) {
        self.now = now;
        let services: BTreeSet<Name> = self.coming.keys().map(|(name, _)| name.clone()).collect();
        let known = &self.services;
        self.coming.retain(|(name, _), since| {
            let span = known.get(name).and_then(|service| service.slow_start);
            span.is_some_and(|span| u128::from(now - *since) < span.as_nanos())
        });
        for name in &services {
            self.stand(name, standings);
        }
    }

    /// Since when and how long an endpoint is ejected, if it is.
    pub fn ejected(&self, name: &Name, endpoint: &Endpoint) -> Option<&Ejected> {
        if self.ejecting.is_empty() {
            return None;
        }
        self.ejections.get(name, &endpoint.into())
    }

    /// Services whose connections are to be looked at now. `None` while none is due.
    pub fn due(&mut self, now: u64) -> Option<&BTreeSet<Name>> {
        if self.ejecting.is_empty() || now < self.look_at {
            return None;
        }
        self.look_at = now + LOOK;
        Some(&self.ejecting)
    }

    /// Looks at what became of connects to all endpoints of a service, and brings `standings` up to what follows.
    pub fn look(
        &mut self,
        name: &Name,
        fates: &[(Membership, Fates)],
        now: u64,
        standings: &mut OrdMap<Name, Arc<Standings>>,
    ) -> Vec<EjectionChange> {
        self.now = now;
        let eject = self.services.get(name).and_then(|service| service.eject);
        let Some(eject) = eject else {
            return Vec::new();
        };
        let changes = self.ejections.look(name, &eject, fates, now);
        for change in &changes {
            self.turned(name, &change.endpoint, change.ejected.is_none());
        }
        if !changes.is_empty() {
            self.stand(name, standings);
        }
        changes
    }

    fn is_failing(&self, service: &Service, endpoint: &Endpoint) -> bool {
        let Some(check) = &endpoint.check else {
            return false;
        };
        let known = self.condition_of(service, endpoint);
        !known.map_or(check.initially_usable, |it| it.healthy)
    }
}

/// The endpoint of a service, which has them in order.
fn endpoint_of<'a>(service: &'a Service, member: &Membership) -> Option<&'a Endpoint> {
    let wanted = (member.address, &member.ports);
    let found = service
        .endpoints
        .binary_search_by(|it| (it.address, &it.ports).cmp(&wanted));
    service.endpoints.get(found.ok()?)
}

#[cfg(test)]
mod tests;
