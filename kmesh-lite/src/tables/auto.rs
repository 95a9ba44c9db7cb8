//! Automatic virtual addresses.

use super::Tables;
use super::room::Shortage;
use crate::model::{Family, Mesh, Name, Service, Vip};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The virtual addresses of every service.
pub type Vips = BTreeMap<Name, Vec<IpAddr>>;

/// All virtual addresses of every service, and the families of which there were too few.
///
/// A service keeps the automatic addresses that it has in the kernel. New ones follow from its name
/// alone, so that a host gives the same address after a reboot and another host gives the same one;
/// where two names meet on one address, the later one in alphabetical order moves on by one.
pub fn vips(mesh: &Mesh, actual: &Tables) -> (Vips, Vec<Shortage>) {
    let mut vips = Vips::new();
    for (name, service) in &mesh.services {
        let fixed: Vec<_> = service
            .vips
            .iter()
            .filter_map(|vip| match vip {
                Vip::Fixed(ip) => Some(*ip),
                Vip::Auto => None,
            })
            .collect();
        vips.insert(name.clone(), fixed);
    }

    let wanted: Vec<(&Name, Family)> = mesh
        .services
        .iter()
        .filter(|(_, service)| service.vips.contains(&Vip::Auto))
        .flat_map(|(name, service)| families(mesh, service).map(move |family| (name, family)))
        .collect();
    if wanted.is_empty() {
        return (vips, Vec::new());
    }
    let mut asked: BTreeMap<Family, usize> = BTreeMap::new();
    for (_, family) in &wanted {
        *asked.entry(*family).or_default() += 1;
    }
    let mut taken: BTreeSet<IpAddr> = mesh.backends.keys().copied().collect();
    taken.extend(vips.values().flatten());
    let before = assigned(actual);
    let mut fresh = Vec::new();
    for (name, family) in wanted {
        let usable = |ip: &&IpAddr| {
            Family::from(**ip) == family
                && mesh.vip_ranges.iter().any(|range| range.contains(**ip))
                && !taken.contains(*ip)
        };
        let kept: Vec<_> = before
            .get(name.as_str())
            .into_iter()
            .flatten()
            .filter(usable)
            .collect();
        // One of them may have been fixed until now: what follows from the name is the automatic one.
        let own = first_free(mesh, family, name, &BTreeSet::new());
        let kept = kept
            .iter()
            .find(|ip| Some(***ip) == own)
            .or(kept.first())
            .copied();
        match kept {
            Some(ip) => {
                taken.insert(*ip);
                vips.entry(name.clone()).or_default().push(*ip);
            }
            None => fresh.push((name, family)),
        }
    }
    let mut exhausted: BTreeMap<Family, (&Name, usize)> = BTreeMap::new();
    for (name, family) in fresh {
        // Where one service found nothing, no later one will.
        if let Some((_, unserved)) = exhausted.get_mut(&family) {
            *unserved += 1;
            continue;
        }
        match first_free(mesh, family, name, &taken) {
            Some(ip) => {
                taken.insert(ip);
                vips.entry(name.clone()).or_default().push(ip);
            }
            None => {
                exhausted.insert(family, (name, 1));
            }
        }
    }
    let shortages = exhausted.into_iter().map(|(family, (service, unserved))| {
        let need = asked.get(&family).copied().unwrap_or_default();
        Shortage::Vips {
            family,
            need,
            room: need - unserved,
            service: service.clone(),
        }
    });
    (vips, shortages.collect())
}

/// Families in which a service can be reached: IPv4 needs an IPv4 endpoint (or none at all yet).
fn families(mesh: &Mesh, service: &Service) -> impl Iterator<Item = Family> {
    let has_range = |family| {
        mesh.vip_ranges
            .iter()
            .any(|range| Family::from(range.ip()) == family)
    };
    let v4 = service.endpoints.is_empty()
        || service
            .endpoints
            .iter()
            .any(|endpoint| endpoint.address.is_ipv4());
    let v4 = (v4 && has_range(Family::V4)).then_some(Family::V4);
    let v6 = has_range(Family::V6).then_some(Family::V6);
    v4.into_iter().chain(v6)
}

/// Addresses by service name, as the kernel has them.
fn assigned(actual: &Tables) -> BTreeMap<&str, BTreeSet<IpAddr>> {
    let mut assigned: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
    for frontend in actual.rows.frontends.values() {
        if let Some(service) = frontend
            .service
            .and_then(|id| actual.rows.services.get(&id))
        {
            assigned
                .entry(service.name.as_str())
                .or_default()
                .insert(frontend.key.address.into());
        }
    }
    assigned
}

/// The first free address of the first range that has one.
fn first_free(
    mesh: &Mesh,
    family: Family,
    name: &Name,
    taken: &BTreeSet<IpAddr>,
) -> Option<IpAddr> {
    let ranges = mesh
        .vip_ranges
        .iter()
        .filter(|range| Family::from(range.ip()) == family);
    ranges.copied().find_map(|range| free(range, name, taken))
}

/// The first free address of `range`, counting from where `name` falls. The first and last address
/// of a range are left out: in IPv4 they would be its network and broadcast address.
fn free(range: IpNetwork, name: &Name, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let bits = match range {
        IpNetwork::V4(range) => 32 - u32::from(range.prefix()),
        IpNetwork::V6(range) => 128 - u32::from(range.prefix()),
    };
    // 2^64 addresses are as good as more.
    let size = (1u128 << bits.min(64)).saturating_sub(2);
    let start = u128::from(fnv1a(name.as_str().as_bytes())) % size.max(1);
    // Every step past a taken address uses up one of finitely many.
    (0..size.min(taken.len() as u128 + 1))
        .filter_map(|step| nth(range, 1 + (start + step) % size))
        .find(|ip| !taken.contains(ip))
}

fn nth(range: IpNetwork, offset: u128) -> Option<IpAddr> {
    match range {
        IpNetwork::V4(range) => range.nth(u32::try_from(offset).ok()?).map(Into::into),
        IpNetwork::V6(range) => range.nth(offset).map(Into::into),
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): fixed for ever, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
