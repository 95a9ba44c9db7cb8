//! Membership of a backend in a service.

use super::{Check, OfName, OperatorState, Place, PortMapping, Protocol};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

/// An endpoint; its priority follows from its place, the host's and the service's preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The backend's address.
    pub address: IpAddr,
    /// Ports of the service behind which this endpoint has another port than the service says. Sorted;
    /// mostly empty.
    pub ports: Vec<PortMapping>,
    /// Shared: a hundred thousand endpoints have few places.
    pub place: Arc<Place>,
    /// Share of new connections relative to the others at its priority; 0 for none.
    pub weight: u32,
    /// How many connections of this host to it may be open in its service.
    pub max_connections: Option<NonZeroU32>,
    /// How it is checked, if it is. Shared by many.
    pub check: Option<Arc<Check>>,
    pub state: OperatorState,
    /// The name that it was found by; none where the file has its address.
    pub of_name: Option<OfName>,
}

impl Endpoint {
    /// The endpoint's own port behind a port of its service.
    pub fn own_port(&self, mapping: &PortMapping) -> Option<u16> {
        let mut own = self.ports.iter();
        own.find(|own| (own.protocol, own.port) == (mapping.protocol, mapping.port))
            .map(|own| own.target)
    }

    /// The port that connects to a port of its service arrive at.
    pub fn port(&self, mapping: &PortMapping) -> u16 {
        self.own_port(mapping).unwrap_or(mapping.target)
    }

    /// The endpoint as the file could name it: its address, with its port where it has one of its own and the service
    /// has no other, or with each of its own ports.
    pub fn title(&self, of_service: &[PortMapping]) -> String {
        title(self.address, &self.ports, of_service)
    }
}

/// The title of an endpoint of which no more is known than this.
pub fn title(address: IpAddr, own: &[PortMapping], of_service: &[PortMapping]) -> String {
    match (own, of_service) {
        ([], _) => address.to_string(),
        ([own], [_]) => SocketAddr::new(address, own.target).to_string(),
        (own, _) => {
            let own = own.iter().map(|own| match own.protocol {
                Protocol::Tcp => format!("{} = {}", own.port, own.target),
                protocol => format!("{}/{protocol} = {}", own.port, own.target),
            });
            let own: Vec<_> = own.collect();
            format!("{address} ({})", own.join(", "))
        }
    }
}
