//! Addresses that were seen, as a policy names them: services, single addresses, and networks where these are many.

use super::super::seen::Met;
use crate::model::Mesh;
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// More single addresses than this become networks.
const FEW: usize = 16;
/// A network takes the place of so many addresses in it.
const CROWD: usize = 4;
/// Prefixes of networks, of IPv4 and IPv6, smaller ones first.
const PREFIXES: [(u8, u8); 2] = [(24, 64), (16, 48)];

/// What was seen of each source. A service stands for the addresses of its endpoints.
pub fn sources(seen: &BTreeMap<IpAddr, Met>, mesh: &Mesh) -> BTreeMap<String, Met> {
    let mut found: BTreeMap<String, Met> = BTreeMap::new();
    let mut left = seen.clone();
    let mut services = services(seen, mesh);
    // The service that stands for most of them first; of those that stand for as many, the one with fewest others.
    while let Some((name, there)) = services
        .iter()
        .map(|(name, (own, all))| {
            let there = own.iter().filter(|it| left.contains_key(it)).count();
            (name, there, *all)
        })
        .filter(|(_, there, _)| *there > 0)
        .max_by(|a, b| (a.1, b.2, b.0).cmp(&(b.1, a.2, a.0)))
        .map(|(name, _, _)| (name.clone(), services[name].0.clone()))
    {
        for address in there {
            if let Some(met) = left.remove(&address) {
                add(&mut found, format!("service:{name}"), met);
            }
        }
        services.remove(&name);
    }
    for (source, met) in networks(left) {
        add(&mut found, source, met);
    }
    found
}

/// By name: the addresses of its endpoints that were seen, and how many it has.
fn services(
    seen: &BTreeMap<IpAddr, Met>,
    mesh: &Mesh,
) -> BTreeMap<String, (BTreeSet<IpAddr>, usize)> {
    let services = mesh.services.iter().map(|(name, service)| {
        // One of this host itself stands for more than a service.
        let own = service.endpoints.iter().map(|it| it.address);
        let there = own.filter(|it| !it.is_loopback() && seen.contains_key(it));
        let there: BTreeSet<_> = there.collect();
        (name.to_string(), (there, service.endpoints.len()))
    });
    services
        .filter(|(_, (there, _))| !there.is_empty())
        .collect()
}

fn networks(addresses: BTreeMap<IpAddr, Met>) -> Vec<(String, Met)> {
    let single = |(address, met): (IpAddr, Met)| (address.to_string(), met);
    if addresses.len() <= FEW {
        return addresses.into_iter().map(single).collect();
    }
    let mut left = addresses;
    let mut found = Vec::new();
    for (v4, v6) in PREFIXES {
        let mut crowds: BTreeMap<IpNetwork, Vec<IpAddr>> = BTreeMap::new();
        for address in left.keys() {
            let prefix = if address.is_ipv4() { v4 } else { v6 };
            let of = IpNetwork::new(*address, prefix).ok();
            let of = of.and_then(|of| IpNetwork::new(of.network(), prefix).ok());
            if let Some(network) = of {
                crowds.entry(network).or_default().push(*address);
            }
        }
        for (network, members) in crowds {
            if members.len() < CROWD || left.len() <= FEW {
                continue;
            }
            let mut all = Met::default();
            for member in members {
                all.join(left.remove(&member).unwrap_or_default());
            }
            found.push((network.to_string(), all));
        }
    }
    found.extend(left.into_iter().map(single));
    found
}

fn add(found: &mut BTreeMap<String, Met>, source: String, met: Met) {
    found.entry(source).or_default().join(met);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Host, Loader, Origin};

    fn mesh() -> Mesh {
        let text = r#"
            [services.web]
            vips = ["10.96.0.10"]
            ports = [80]
            endpoints = ["192.0.2.1", "192.0.2.2"]
            [services.all]
            vips = ["10.96.0.11"]
            ports = [80]
            endpoints = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
            [services.batch]
            vips = ["10.96.0.12"]
            ports = [80]
            endpoints = ["192.0.2.3"]
        "#;
        let fragments = [(Origin::new("mesh.toml"), text.to_owned())];
        let fragments: Fragments = fragments.into_iter().collect();
        let loaded = Loader::default().load(&fragments, &Host::default());
        loaded.mesh.expect("a mesh")
    }

    fn named(addresses: &[&str]) -> Vec<String> {
        let met = Met {
            connections: 1,
            ..Met::default()
        };
        let seen = addresses.iter().map(|it| (it.parse().unwrap(), met));
        sources(&seen.collect(), &mesh()).into_keys().collect()
    }

    #[test]
    fn addresses_of_endpoints_are_the_service_with_fewest_others() {
        let seen = ["192.0.2.1", "192.0.2.2", "203.0.113.7"];
        assert_eq!(named(&seen), ["203.0.113.7", "service:web"]);
        assert_eq!(named(&["192.0.2.3"]), ["service:batch"]);
        let seen = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        assert_eq!(named(&seen), ["service:all"]);
    }

    #[test]
    fn many_addresses_become_the_networks_that_they_crowd_in() {
        let mut seen: Vec<_> = (0..20).map(|last| format!("203.0.113.{last}")).collect();
        seen.push("198.51.100.7".to_owned());
        seen.extend((1..6).map(|last| format!("2001:db8::{last}")));
        let seen: Vec<_> = seen.iter().map(String::as_str).collect();
        assert_eq!(
            named(&seen),
            [
                "198.51.100.7",
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8::3",
                "2001:db8::4",
                "2001:db8::5",
                "203.0.113.0/24"
            ]
        );
    }
}
