//! Where connections may be sent: a forwarder that went wherever a header says would be an open
//! proxy.

use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Destinations that are let through.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Networks, with every port of them.
    pub networks: Vec<IpNetwork>,
    /// Networks, with these ports of them.
    pub network_ports: Vec<(IpNetwork, BTreeSet<u16>)>,
    /// Hosts, with every port of them.
    pub hosts: BTreeSet<IpAddr>,
    pub addresses: BTreeSet<SocketAddr>,
}

impl Allowed {
    /// Whether connections may be sent to `destination`, which is not an IPv4-mapped address.
    pub fn permits(&self, destination: SocketAddr) -> bool {
        let ip = destination.ip();
        let port = destination.port();
        if port == 0 || !is_unicast(ip) {
            return false;
        }
        self.addresses.contains(&destination)
            || self.hosts.contains(&ip)
            || self.networks.iter().any(|network| network.contains(ip))
            || self
                .network_ports
                .iter()
                .any(|(network, ports)| network.contains(ip) && ports.contains(&port))
    }

    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
            && self.network_ports.iter().all(|(_, ports)| ports.is_empty())
            && self.hosts.is_empty()
            && self.addresses.is_empty()
    }
}

/// The unspecified address would reach this host itself.
fn is_unicast(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_network_allows_an_address_that_is_no_single_host() {
        let networks = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
        let allowed = Allowed {
            networks: networks.to_vec(),
            ..Allowed::default()
        };
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
