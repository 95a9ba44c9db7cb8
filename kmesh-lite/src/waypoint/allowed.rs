//! Where connections may be sent: a forwarder that went wherever a header says would be an open
//! proxy.

use crate::model::{Mesh, Protocol, Vip};
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Destinations that are let through.
///
/// Of a mesh these are what a redirected client may have asked for, and no port more, because the
/// addresses of a mesh can be shared with things that are none of its business: a service's virtual
/// address with its ports, a backend with the ports that services reach it by, and every port of a
/// backend that has a waypoint, because all of its ports are captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    networks: Vec<IpNetwork>,
    addresses: BTreeSet<SocketAddr>,
    captured: BTreeSet<IpAddr>,
    /// Automatic virtual addresses: hosts may have taken different ones, so the whole ranges.
    auto: Vec<IpNetwork>,
    auto_ports: BTreeSet<u16>,
}

impl Allowed {
    /// Every port of these networks.
    pub fn networks(networks: Vec<IpNetwork>) -> Self {
        Self {
            networks,
            ..Self::default()
        }
    }

    /// And the addresses of a mesh.
    pub fn and_mesh(mut self, mesh: &Mesh) -> Self {
        for service in mesh.services.values() {
            let ports = || {
                let ports = service.ports.iter();
                ports.filter(|port| port.protocol == Protocol::Tcp)
            };
            for vip in &service.vips {
                match vip {
                    Vip::Fixed(ip) => self
                        .addresses
                        .extend(ports().map(|port| SocketAddr::new(*ip, port.port))),
                    Vip::Auto => self.auto_ports.extend(ports().map(|port| port.port)),
                }
            }
            for endpoint in &service.endpoints {
                self.addresses
                    .extend(ports().map(|port| SocketAddr::new(endpoint.address, port.target)));
            }
        }
        let captured = mesh
            .backends
            .iter()
            .filter(|(_, backend)| backend.waypoint.is_some());
        self.captured.extend(captured.map(|(ip, _)| *ip));
        self.auto.extend(&mesh.vip_ranges);
        self
    }

    /// Whether connections may be sent to `destination`, which is not an IPv4-mapped address.
    pub fn permits(&self, destination: SocketAddr) -> bool {
        let ip = destination.ip();
        let port = destination.port();
        if port == 0 || !is_unicast(ip) {
            return false;
        }
        self.addresses.contains(&destination)
            || self.captured.contains(&ip)
            || self.auto_ports.contains(&port) && self.auto.iter().any(|range| range.contains(ip))
            || self.networks.iter().any(|network| network.contains(ip))
    }

    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
            && self.addresses.is_empty()
            && self.captured.is_empty()
            && (self.auto.is_empty() || self.auto_ports.is_empty())
    }
}

/// The unspecified address would reach this host itself.
fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}
