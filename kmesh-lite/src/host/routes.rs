//! Routes of this host to networks: where packets go that are for an address of one.

use crate::config::Route;
use ipnetwork::IpNetwork;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of the main tables of both families, but for default routes, those of loopback, and those that lead nowhere, with
/// which a host keeps virtual addresses from leaving. A family that the kernel does not have has none. What cannot be
/// read is told, and counts as none: only warnings depend on it.
pub fn routes() -> Vec<Route> {
    let read = |path: &str| match fs::read_to_string(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            log::warn!("cannot read the routes of this host in {path}: {error}");
            String::new()
        }
        text => text.unwrap_or_default(),
    };
    let v4 = read("/proc/self/net/route");
    let v6 = read("/proc/self/net/ipv6_route");
    let v4 = v4.lines().skip(1).filter_map(v4_route);
    let v6 = v6.lines().filter_map(v6_route);
    v4.chain(v6).filter(is_of_a_network).collect()
}

/// The device of a route of IPv4 that leads nowhere, and the flag of one of IPv6: RTF_REJECT of the kernel's
/// include/uapi/linux/route.h.
const NOWHERE: &str = "*";
const REJECT: u32 = 0x0200;

fn is_of_a_network(route: &Route) -> bool {
    let ip = route.network.ip();
    let is_link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    route.network.prefix() != 0 && route.device != "lo" && !ip.is_multicast() && !is_link_local
}

/// A line of /proc/net/route, as fib_route_seq_show() of the kernel's net/ipv4/fib_trie.c writes it: device, destination,
/// gateway, flags, three numbers, mask. Addresses are words in the order of bytes of this machine.
fn v4_route(line: &str) -> Option<Route> {
    let mut fields = line.split_whitespace();
    let device = fields.next()?.to_owned();
    let word = |text: &str| u32::from_str_radix(text, 16).ok();
    let destination = word(fields.next()?)?;
    let mask = word(fields.nth(5)?)?;
    if device == NOWHERE {
        return None;
    }
    let ip = Ipv4Addr::from(destination.to_ne_bytes());
    let network = IpNetwork::new(ip.into(), mask.count_ones() as u8).ok()?;
    Some(Route { network, device })
}

/// A line of /proc/net/ipv6_route, as rt6_info_route() of the kernel's net/ipv6/route.c writes it: destination and the
/// length of its prefix, source and prefix, gateway, four numbers, device.
fn v6_route(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let ip = Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?);
    let prefix = u8::from_str_radix(fields.get(1)?, 16).ok()?;
    let network = IpNetwork::new(ip.into(), prefix).ok()?;
    if u32::from_str_radix(fields.get(8)?, 16).ok()? & REJECT != 0 {
        return None;
    }
    let device = (*fields.get(9)?).to_owned();
    Some(Route { network, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(route: Option<Route>) -> Option<(String, String)> {
        route.map(|it| (it.network.to_string(), it.device))
    }

    #[test]
    fn lines_of_both_families_are_read() {
        let bytes = Ipv4Addr::new(192, 0, 2, 0).octets();
        let line = format!(
            "eth0\t{:08X}\t00000000\t0001\t0\t0\t0\t{:08X}\t0\t0\t0",
            u32::from_ne_bytes(bytes),
            u32::from_ne_bytes([255, 255, 255, 0])
        );
        let expected = Some(("192.0.2.0/24".to_owned(), "eth0".to_owned()));
        assert_eq!(told(v4_route(&line)), expected);
        let line = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        let expected = Some(("fd00::/64".to_owned(), "eth0".to_owned()));
        assert_eq!(told(v6_route(line)), expected);
        let blackhole = "*\t00000A0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        assert_eq!(told(v4_route(blackhole)), None);
        let blackhole = line.replace("00000001     eth0", "00200200     lo");
        assert_eq!(told(v6_route(&blackhole)), None);
        assert_eq!(told(v4_route("")), None);
        assert_eq!(told(v6_route("fd00")), None);
    }
}
