//! Which addresses can be what.

use super::super::Host;
use crate::model::Family;
use ipnetwork::IpNetwork;
use std::net::IpAddr;

pub use crate::model::unusable;

/// Whether an address belongs to this host, so that something other than us may answer there.
pub fn is_own(host: &Host, ip: IpAddr) -> bool {
    ip.is_loopback() || host.own_addresses.contains(&ip)
}

/// Why nothing in this range can be a virtual address.
pub fn unusable_range(range: IpNetwork) -> Option<&'static str> {
    const RESERVED: [(&str, &str); 8] = [
        ("0.0.0.0/8", "holds the unspecified address"),
        ("127.0.0.0/8", "holds loopback addresses"),
        ("224.0.0.0/4", "holds multicast addresses"),
        ("255.255.255.255/32", "holds the broadcast address"),
        ("::/127", "holds the unspecified and the loopback address"),
        ("::ffff:0:0/96", "holds IPv4-mapped addresses"),
        ("fe80::/10", "holds link-local addresses"),
        ("ff00::/8", "holds multicast addresses"),
    ];
    RESERVED
        .iter()
        .find(|(reserved, _)| {
            reserved
                .parse()
                .is_ok_and(|reserved| overlap(range, reserved))
        })
        .map(|(_, why)| *why)
}

/// Whether two ranges share an address.
pub fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    match (a, b) {
        (IpNetwork::V4(a), IpNetwork::V4(b)) => a.overlaps(b),
        (IpNetwork::V6(a), IpNetwork::V6(b)) => a.overlaps(b),
        _ => false,
    }
}

/// Families that occur among some addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

impl Families {
    pub fn add(&mut self, ip: IpAddr) {
        match Family::from(ip) {
            Family::V4 => self.v4 = true,
            Family::V6 => self.v6 = true,
        }
    }

    pub fn none(self) -> bool {
        !self.v4 && !self.v6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_and_loopback_addresses_are_usable() {
        for ip in ["10.0.0.1", "127.0.0.1", "::1", "240.64.0.1", "fd00::1"] {
            assert_eq!(unusable(ip.parse().unwrap()), None, "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
            "fe80::1",
        ] {
            assert!(unusable(ip.parse().unwrap()).is_some(), "{ip}");
        }
    }

    #[test]
    fn default_ranges_are_usable_and_reserved_ones_are_not() {
        for range in ["240.64.0.0/16", "fd6b:6d65:7368::/64", "10.0.0.0/8"] {
            assert_eq!(unusable_range(range.parse().unwrap()), None, "{range}");
        }
        for range in [
            "0.0.0.0/0",
            "::/0",
            "127.0.0.0/24",
            "240.0.0.0/4",
            "ff00::/16",
        ] {
            assert!(unusable_range(range.parse().unwrap()).is_some(), "{range}");
        }
    }
}
