//! How endpoints stand, in words.

use crate::api::{EndpointHealth, EndpointOrder, OrderStatus, TimeBase};
use crate::health::{Addressee, Health, Order, Orders};
use crate::model::{Down, Endpoint, Mesh, Name, Service, standing_by};
use crate::names::NameState;
use kmesh_lite_common::Port;
use std::net::IpAddr;

/// What is known of endpoints, the time of the same clock now, and by what it is told.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub health: Health,
    /// What is known of names.
    pub names: Vec<NameState>,
    pub now: u64,
    pub base: TimeBase,
}

/// None where an endpoint is not checked, and the operator wants nothing of it.
pub fn endpoint_health(
    Known {
        health, now, base, ..
    }: &Known,
    name: &Name,
    service: &Service,
    endpoint: &Endpoint,
) -> Option<EndpointHealth> {
    let standing = health.standing(name, service, endpoint);
    let order = health.orders.get(name, endpoint);
    if let Some(reason) = stands_by(health, name, service, endpoint) {
        return Some(EndpointHealth {
            state: "standby".to_owned(),
            usable: false,
            since: None,
            reason: Some(reason),
            order: order.as_ref().map(order_status),
        });
    }
    if endpoint.check.is_none() && standing.down.is_none() && order.is_none() {
        return None;
    }
    let ejected = health.ejected(name, endpoint);
    if let Some(ejected) = ejected.filter(|_| standing.down == Some(Down::Ejected)) {
        let left = ejected.until.saturating_sub(*now) / 1_000_000_000;
        return Some(EndpointHealth {
            state: Down::Ejected.as_str().to_owned(),
            usable: false,
            since: Some(base.tell(ejected.since)),
            reason: Some(format!(
                "{} connects in a row failed; it is tried again in {left} s",
                ejected.run
            )),
            order: order.as_ref().map(order_status),
        });
    }
    let known = health.condition_of(service, endpoint);
    let state = match (standing.down, &endpoint.check, known) {
        // What counts as unhealthy because nothing is known yet is not called so.
        (Some(down), _, known) if down.is_meant() || known.is_some() => down.as_str(),
        (_, None, _) => "ready",
        (_, Some(_), Some(_)) => "healthy",
        (_, Some(_), None) => "unknown",
    };
    let is_meant = standing.down.is_some_and(|down| down.is_meant());
    let order_at = order.as_ref();
    let order_at = order_at.filter(|order| is_meant && order.state.is_some());
    let known = known.filter(|_| !is_meant);
    let since = known.map(|known| base.tell(known.since));
    Some(EndpointHealth {
        state: state.to_owned(),
        usable: standing.down.is_none(),
        since: order_at.map(|order| order.at.clone()).or(since),
        reason: known.map(|known| known.reason.clone()),
        order: order.as_ref().map(order_status),
    })
}

/// Why an endpoint is not used as long as others of its name are, if that is so.
fn stands_by(
    health: &Health,
    name: &Name,
    service: &Service,
    endpoint: &Endpoint,
) -> Option<String> {
    if !service.named.iter().any(|named| named.is_srv) {
        return None;
    }
    let of_name = endpoint.of_name.as_ref()?;
    let standing = |it: &Endpoint| health.standing(name, service, it);
    // What is worse is said instead.
    if !standing(endpoint).takes(endpoint.weight) {
        return None;
    }
    let standing_by = standing_by(&service.endpoints, |it| standing(it).takes(it.weight));
    let mut places = standing_by.into_iter();
    places
        .any(|place| service.endpoints[place] == *endpoint)
        .then(|| {
            format!(
                "its SRV record has priority {}, and one of a lower priority is used",
                of_name.rank
            )
        })
}

/// Why an endpoint takes no new connections, in words; none where nothing is known against it. `ports` are its own by
/// column.
pub fn why_down(
    known: &Known,
    mesh: &Mesh,
    service: &str,
    address: IpAddr,
    ports: &[Port],
) -> Option<String> {
    let (name, service) = mesh.services.get_key_value(service)?;
    let columns = service.columns();
    let has_ports = |endpoint: &&Endpoint| {
        let own = service.own_ports(&columns, endpoint).into_iter();
        let own = own.map(|port| port.unwrap_or(0));
        own.eq(ports.iter().map(|port| port.get()))
    };
    let mut endpoints = service.endpoints.iter();
    let endpoint = endpoints.find(|it| it.address == address && has_ports(it))?;
    let health = endpoint_health(known, name, service, endpoint)?;
    if health.usable {
        return None;
    }
    let mut words = health.state;
    for (word, text) in [(": ", health.reason), (" since ", health.since)] {
        if let Some(text) = text {
            words = words + word + &text;
        }
    }
    Some(match health.order {
        Some(order) if order.state.is_some() => format!("{words}, by uid {}", order.uid),
        _ => words,
    })
}

/// What the operator wants of endpoints, in the words of `mesh`.
pub fn orders(orders: &Orders, mesh: &Mesh) -> Vec<EndpointOrder> {
    let order = |((name, addressee), order): (&(Name, Addressee), &Order)| EndpointOrder {
        service: name.to_string(),
        endpoint: addressee.title(mesh.services.get(name).map(|it| &**it)),
        present: addressee.is_in(mesh, name),
        order: order_status(order),
    };
    orders.iter().map(order).collect()
}

pub fn order_status(order: &Order) -> OrderStatus {
    OrderStatus {
        state: order.state.map(|state| state.as_str().to_owned()),
        weight: order.weight,
        uid: order.uid,
        at: order.at.clone(),
    }
}
