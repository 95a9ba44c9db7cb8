//! What the operator wants of endpoints, beside what the file says.

use crate::model::{Endpoint, Membership, Mesh, Name, OperatorState};
use std::collections::BTreeMap;

/// What the operator wants of one endpoint. It counts until it is taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// In place of what the file says.
    pub state: Option<OperatorState>,
    /// In place of what the file says.
    pub weight: Option<u32>,
    /// Whose word it is.
    pub uid: u32,
    /// When it was given, as it is shown.
    pub at: String,
}

impl Order {
    /// Whether it says no more than the file.
    pub fn is_empty(&self) -> bool {
        self.state.is_none() && self.weight.is_none()
    }
}

/// Orders by service and endpoint. An endpoint that no mesh has may have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    all: BTreeMap<(Name, Membership), Order>,
}

impl Orders {
    pub fn get(&self, service: &Name, endpoint: &Endpoint) -> Option<&Order> {
        // So it is for nearly all hosts.
        if self.all.is_empty() {
            return None;
        }
        self.of(service, &endpoint.into())
    }

    pub fn of(&self, service: &Name, endpoint: &Membership) -> Option<&Order> {
        self.all.get(&(service.clone(), endpoint.clone()))
    }

    /// What an endpoint is to do, by the operator or by the file.
    pub fn state(&self, service: &Name, endpoint: &Endpoint) -> OperatorState {
        let order = self.get(service, endpoint);
        order.and_then(|it| it.state).unwrap_or(endpoint.state)
    }

    /// A weight in place of that of the file.
    pub fn weight(&self, service: &Name, endpoint: &Endpoint) -> Option<u32> {
        self.get(service, endpoint)?.weight
    }

    /// Takes an order in. One that says no more than the file is none.
    pub fn set(&mut self, service: Name, endpoint: Membership, order: Order) {
        let key = (service, endpoint);
        if order.is_empty() {
            self.all.remove(&key);
        } else {
            self.all.insert(key, order);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&(Name, Membership), &Order)> {
        self.all.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that a text means and whose endpoints `mesh` does not have. They are named as endpoints are
    /// ([`Mesh::endpoints_named`]), but a name in `[endpoints]` only means something while it is there.
    pub fn left_named(&self, text: &str, mesh: &Mesh) -> Vec<(Name, Membership)> {
        let (service, wanted) = match text.split_once('/') {
            Some((service, wanted)) => (Some(service), wanted),
            None => (None, text),
        };
        // One that was found by a DNS name is named with it, and known by its address.
        let at = wanted.rsplit_once('@').map_or(wanted, |(_, at)| at);
        let Some((address, port)) = mesh.address_named(at) else {
            return Vec::new();
        };
        let is_meant = |(name, endpoint): &&(Name, Membership)| {
            let mut own = endpoint.ports.iter().map(|it| it.target);
            service.is_none_or(|service| service == name.as_str())
                && endpoint.address == address
                && port.is_none_or(|port| own.any(|own| own == port))
                && !is_in(mesh, name, endpoint)
        };
        self.all.keys().filter(is_meant).cloned().collect()
    }
}

/// Whether a mesh has an endpoint.
pub fn is_in(mesh: &Mesh, service: &Name, endpoint: &Membership) -> bool {
    let service = mesh.services.get(service);
    service.is_some_and(|service| super::endpoint_of(service, endpoint).is_some())
}

impl FromIterator<((Name, Membership), Order)> for Orders {
    fn from_iter<I: IntoIterator<Item = ((Name, Membership), Order)>>(orders: I) -> Self {
        Self {
            all: orders.into_iter().collect(),
        }
    }
}
