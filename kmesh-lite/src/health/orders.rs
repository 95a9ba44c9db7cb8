//! What the operator wants of endpoints, beside what the file says.

use crate::model::{Endpoint, Membership, Mesh, Name, OperatorState, Service};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the operator wants of an endpoint, or of all those of a name. It counts until it is taken back.
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

/// Whom an order is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Addressee {
    /// One endpoint, wherever it comes from.
    Endpoint(Membership),
    /// Every endpoint that a DNS name stands for, now and later.
    Name(Arc<str>),
}

impl Addressee {
    /// As it is called. A service that is not known has no ports.
    pub fn title(&self, service: Option<&Service>) -> String {
        match self {
            Self::Endpoint(endpoint) => endpoint.title(service),
            Self::Name(name) => name.to_string(),
        }
    }

    /// Whether a mesh has it.
    pub fn is_in(&self, mesh: &Mesh, service: &Name) -> bool {
        let service = mesh.services.get(service);
        service.is_some_and(|service| match self {
            Self::Endpoint(endpoint) => super::endpoint_of(service, endpoint).is_some(),
            Self::Name(name) => service.named.iter().any(|named| named.name == *name),
        })
    }
}

impl From<Membership> for Addressee {
    fn from(endpoint: Membership) -> Self {
        Self::Endpoint(endpoint)
    }
}

/// Orders by service and addressee. One that no mesh has may have an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    all: BTreeMap<(Name, Addressee), Order>,
}

impl Orders {
    /// What counts for an endpoint: what is wanted of itself goes before what is wanted of its name.
    pub fn get(&self, service: &Name, endpoint: &Endpoint) -> Option<Order> {
        // So it is for nearly all hosts.
        if self.all.is_empty() {
            return None;
        }
        let own = self.of(service, &Membership::from(endpoint).into());
        let (own, of_name) = match (own, self.of_name(service, endpoint)) {
            (Some(own), Some(of_name)) => (own, of_name),
            (own, of_name) => return own.or(of_name).cloned(),
        };
        // Whose word the state is matters more than whose the weight is.
        let first = match own.state.is_some() || of_name.state.is_none() {
            true => own,
            false => of_name,
        };
        Some(Order {
            state: own.state.or(of_name.state),
            weight: own.weight.or(of_name.weight),
            ..first.clone()
        })
    }

    pub fn of(&self, service: &Name, addressee: &Addressee) -> Option<&Order> {
        self.all.get(&(service.clone(), addressee.clone()))
    }

    fn of_name(&self, service: &Name, endpoint: &Endpoint) -> Option<&Order> {
        let name = Arc::clone(&endpoint.of_name.as_ref()?.name);
        self.of(service, &Addressee::Name(name))
    }

    /// What an endpoint is to do, by the operator or by the file.
    pub fn state(&self, service: &Name, endpoint: &Endpoint) -> OperatorState {
        let order = self.get(service, endpoint);
        order.and_then(|it| it.state).unwrap_or(endpoint.state)
    }

    /// What it would be without an order of its own.
    pub fn state_beneath(&self, service: &Name, endpoint: &Endpoint) -> OperatorState {
        let of_name = self.of_name(service, endpoint);
        of_name.and_then(|it| it.state).unwrap_or(endpoint.state)
    }

    /// A weight in place of that of the file.
    pub fn weight(&self, service: &Name, endpoint: &Endpoint) -> Option<u32> {
        self.get(service, endpoint)?.weight
    }

    /// Takes an order in. One that says no more than the file is none.
    pub fn set(&mut self, service: Name, addressee: impl Into<Addressee>, order: Order) {
        let key = (service, addressee.into());
        if order.is_empty() {
            self.all.remove(&key);
        } else {
            self.all.insert(key, order);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&(Name, Addressee), &Order)> {
        self.all.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that a text means and whose endpoints or names `mesh` does not have. They are named as endpoints are
    /// ([`Mesh::endpoints_named`]), but a name in `[endpoints]` only means something while it is there.
    pub fn left_named(&self, text: &str, mesh: &Mesh) -> Vec<(Name, Addressee)> {
        let (service, wanted) = match text.split_once('/') {
            Some((service, wanted)) => (Some(service), wanted),
            None => (None, text),
        };
        // One that was found by a DNS name is named with it, and known by its address.
        let at = wanted.rsplit_once('@').map_or(wanted, |(_, at)| at);
        let at = mesh.address_named(at);
        let is_meant = |(name, addressee): &&(Name, Addressee)| {
            service.is_none_or(|service| service == name.as_str())
                && !addressee.is_in(mesh, name)
                && match addressee {
                    Addressee::Name(name) => &**name == wanted,
                    Addressee::Endpoint(endpoint) => at.is_some_and(|(address, port)| {
                        let mut own = endpoint.ports.iter().map(|it| it.target);
                        endpoint.address == address
                            && port.is_none_or(|port| own.any(|own| own == port))
                    }),
                }
        };
        self.all.keys().filter(is_meant).cloned().collect()
    }
}

impl FromIterator<((Name, Addressee), Order)> for Orders {
    fn from_iter<I: IntoIterator<Item = ((Name, Addressee), Order)>>(orders: I) -> Self {
        Self {
            all: orders.into_iter().collect(),
        }
    }
}
