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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};

    const MESH: &str = r#"
        [mesh]
        vip_ranges = ["240.64.0.0/24"]
        [waypoints.edge]
        address = "10.0.0.5:15008"
        header = "tlv"
        [services.shop]
        vips = ["10.96.0.10", "127.0.0.1"]
        ports = ["80:8080", { port = 53, protocol = "udp" }]
        endpoints = ["192.168.1.10", "db-1"]
        [services.moving]
        vips = ["auto"]
        ports = ["443:8443"]
        endpoints = ["192.168.1.12"]
        [endpoints.db-1]
        address = "192.168.1.11"
        waypoint = "edge"
    "#;

    fn allowed() -> Allowed {
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), MESH)]);
        let loaded = Loader::default().load(&fragments, &Host::default());
        Allowed::networks(vec!["203.0.113.0/24".parse().unwrap()]).and_mesh(&loaded.mesh.unwrap())
    }

    #[test]
    fn a_mesh_allows_what_its_clients_may_ask_for() {
        let allowed = allowed();
        for destination in [
            "10.96.0.10:80",
            "127.0.0.1:80",
            "192.168.1.10:8080",
            "192.168.1.11:22",
            "240.64.0.77:443",
            "192.168.1.12:8443",
            "203.0.113.7:1",
        ] {
            assert!(
                allowed.permits(destination.parse().unwrap()),
                "{destination}"
            );
        }
    }

    #[test]
    fn nothing_else_is_allowed() {
        let allowed = allowed();
        for destination in [
            "10.96.0.10:8080",
            "10.96.0.10:53",
            "127.0.0.1:22",
            "192.168.1.10:22",
            "240.64.0.77:80",
            "10.0.0.5:15008",
            "192.168.1.11:0",
            "0.0.0.0:80",
        ] {
            assert!(
                !allowed.permits(destination.parse().unwrap()),
                "{destination}"
            );
        }
    }

    #[test]
    fn no_network_allows_what_is_no_single_host() {
        let networks = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
        let allowed = Allowed::networks(networks.to_vec());
        for destination in [
            "0.0.0.0:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::]:80",
            "[ff02::1]:80",
            "10.0.0.1:0",
        ] {
            assert!(
                !allowed.permits(destination.parse().unwrap()),
                "{destination}"
            );
        }
        assert!(allowed.permits("10.0.0.1:80".parse().unwrap()));
    }
}
