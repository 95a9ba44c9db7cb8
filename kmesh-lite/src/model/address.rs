//! Which addresses can be connected to.

use std::net::IpAddr;

/// Why no connection can be made to this address, whatever stands behind it.
pub fn unusable(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.is_unspecified() => Some("the unspecified address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an address of `0.0.0.0/8`"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("the unspecified address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("a link-local address, which means nothing without an interface")
        }
        _ if ip.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}
