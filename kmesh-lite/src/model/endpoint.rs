//! Membership of a backend in a service.

use super::Place;
use std::net::IpAddr;
use std::sync::Arc;

/// An endpoint; its priority follows from its place, the host's and the service's preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The backend's address.
    pub address: IpAddr,
    /// Shared: a hundred thousand endpoints have few places.
    pub place: Arc<Place>,
    /// Share of new connections relative to the others at its priority; 0 for none.
    pub weight: u32,
}
