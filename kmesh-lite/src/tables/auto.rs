//! Automatic virtual addresses.

use super::Tables;
use super::room::Shortage;
use crate::model::{Family, Mesh, Name, Service, Vip};
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use ipnetwork::IpNetwork;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The virtual addresses of every service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vips {
    by_service: OrdMap<Name, Vec<IpAddr>>,
    /// How many services have an address.
    owners: OrdMap<IpAddr, u32>,
    /// Those that nobody asked for by name. Each has one owner.
    automatic: OrdSet<IpAddr>,
}

impl Vips {
    pub fn of(&self, service: &Name) -> &[IpAddr] {
        self.by_service.get(service).map_or(&[], Vec::as_slice)
    }

    pub fn has(&self, ip: &IpAddr) -> bool {
        self.owners.contains_key(ip)
    }

    /// Services that have other addresses in `other`.
    pub fn differing(&self, other: &Self) -> Vec<Name> {
        let services = self
            .by_service
            .diff(&other.by_service)
            .map(|item| match item {
                DiffItem::Add(name, _) | DiffItem::Remove(name, _) => name.clone(),
                DiffItem::Update { new: (name, _), .. } => name.clone(),
            });
        services.collect()
    }

    /// How many addresses there are.
    pub fn addresses(&self) -> usize {
        self.owners.len()
    }

    fn give_automatic(&mut self, service: &Name, ip: IpAddr) {
        self.automatic.insert(ip);
        self.give(service, ip);
        if let Some(all) = self.by_service.get_mut(service) {
            // However they came about, their order is the same.
            all.sort_by_key(|ip| self.automatic.contains(ip).then_some(*ip));
        }
    }

    fn give(&mut self, service: &Name, ip: IpAddr) {
        self.by_service.entry(service.clone()).or_default().push(ip);
        *self.owners.entry(ip).or_default() += 1;
    }

    /// Gives what the service had.
    fn take_away(&mut self, service: &Name) -> Vec<IpAddr> {
        let had = self.by_service.remove(service).unwrap_or_default();
        for ip in &had {
            match self.owners.get_mut(ip) {
                Some(owners) if *owners > 1 => *owners -= 1,
                _ => {
                    self.owners.remove(ip);
                    self.automatic.remove(ip);
                }
            }
        }
        had
    }
}

/// All virtual addresses of every service, and the families of which there were too few.
///
/// A service keeps the automatic addresses that it has in the kernel. New ones follow from its name
/// alone, so that a host gives the same address after a reboot and another host gives the same one;
/// where two names meet on one address, the later one in alphabetical order moves on by one.
pub fn vips(mesh: &Mesh, actual: &Tables) -> (Vips, Vec<Shortage>) {
    let mut vips = Vips::default();
    for (name, service) in &mesh.services {
        for ip in fixed(service) {
            vips.give(name, ip);
        }
    }
    let wanted: Vec<_> = mesh.services.iter().flat_map(wanted(mesh)).collect();
    if wanted.is_empty() {
        return (vips, Vec::new());
    }
    let mut asked: BTreeMap<Family, usize> = BTreeMap::new();
    for (_, family) in &wanted {
        *asked.entry(*family).or_default() += 1;
    }
    let before = assigned(actual);
    let nothing = BTreeSet::new();
    let had = |name: &Name| before.get(name.as_str()).unwrap_or(&nothing);
    let mut exhausted: BTreeMap<Family, (&Name, usize)> = BTreeMap::new();
    for (name, family) in keep(mesh, wanted, had, &mut vips) {
        // Where one service found nothing, no later one will.
        if let Some((_, unserved)) = exhausted.get_mut(&family) {
            *unserved += 1;
            continue;
        }
        match fresh(mesh, name, family, &vips) {
            Some(ip) => vips.give_automatic(name, ip),
            None => drop(exhausted.insert(family, (name, 1))),
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

/// The same where only `touched` services differ, and backends that `come`. None if that changes the addresses of
/// others, or if there are too few.
pub fn next<'a>(
    mut vips: Vips,
    (before, mesh): (&Mesh, &'a Mesh),
    touched: &BTreeSet<&'a Name>,
    mut come: impl Iterator<Item = IpAddr>,
) -> Option<Vips> {
    let mut had: BTreeMap<&Name, BTreeSet<IpAddr>> = BTreeMap::new();
    for name in touched {
        had.insert(name, vips.take_away(name).into_iter().collect());
    }
    let services = || {
        let each = touched.iter().copied();
        each.filter_map(|name| Some((name, mesh.services.get(name)?)))
    };
    let mut asked_for = services().flat_map(|(_, service)| fixed(service));
    if come.any(|ip| vips.automatic.contains(&ip))
        || asked_for.any(|ip| vips.automatic.contains(&ip))
    {
        return None;
    }
    for (name, service) in services() {
        for ip in fixed(service) {
            vips.give(name, ip);
        }
    }
    // Without frontends the kernel knows no address of a service.
    had.retain(|name, _| {
        let service = before.services.get(*name);
        service.is_some_and(|service| !service.ports.is_empty())
    });
    let nothing = BTreeSet::new();
    let had = |name: &Name| had.get(name).unwrap_or(&nothing);
    let wanted: Vec<_> = services().flat_map(wanted(mesh)).collect();
    for (name, family) in keep(mesh, wanted, had, &mut vips) {
        let ip = fresh(mesh, name, family, &vips)?;
        vips.give_automatic(name, ip);
    }
    Some(vips)
}

fn fixed(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.vips.iter().filter_map(|vip| match vip {
        Vip::Fixed(ip) => Some(*ip),
        Vip::Auto => None,
    })
}

/// The automatic addresses that services want.
fn wanted<'a>(mesh: &'a Mesh) -> impl Fn((&'a Name, &'a Arc<Service>)) -> Vec<(&'a Name, Family)> {
    move |(name, service)| {
        if service.vips.contains(&Vip::Auto) {
            let families = families(mesh, service);
            families.map(move |family| (name, family)).collect()
        } else {
            Vec::new()
        }
    }
}

/// Gives services what they had and may keep, and says what is still wanted then.
fn keep<'a, 'b>(
    mesh: &Mesh,
    mut wanted: Vec<(&'a Name, Family)>,
    had: impl Fn(&Name) -> &'b BTreeSet<IpAddr>,
    vips: &mut Vips,
) -> Vec<(&'a Name, Family)> {
    wanted.retain(|(name, family)| {
        let usable = |ip: &&IpAddr| {
            Family::from(**ip) == *family
                && mesh.vip_ranges.iter().any(|range| range.contains(**ip))
                && !mesh.backends.contains_key(*ip)
                && !vips.has(ip)
        };
        let mut kept = had(name).iter().filter(usable).peekable();
        let first = kept.peek().map(|ip| **ip);
        if let Some(first) = first {
            // One of them may have been fixed until now: what follows from the name is the automatic one.
            let own = first_free(mesh, *family, name, 0, |_| false);
            let own = kept.find(|ip| Some(**ip) == own).copied();
            vips.give_automatic(name, own.unwrap_or(first));
        }
        first.is_none()
    });
    wanted
}

/// An address that nobody has.
fn fresh(mesh: &Mesh, name: &Name, family: Family, vips: &Vips) -> Option<IpAddr> {
    let taken = mesh.backends.len() + vips.addresses();
    first_free(mesh, family, name, taken, |ip| {
        mesh.backends.contains_key(ip) || vips.has(ip)
    })
}

/// Families in which a service can be reached: IPv4 needs an IPv4 endpoint (or none at all yet), or a name that may
/// have one.
fn families(mesh: &Mesh, service: &Service) -> impl Iterator<Item = Family> {
    let has_range = |family| {
        mesh.vip_ranges
            .iter()
            .any(|range| Family::from(range.ip()) == family)
    };
    let v4 = service.endpoints.is_empty()
        || !service.named.is_empty()
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

/// The first free address of the first range that has one, where at most `most` addresses are taken.
fn first_free(
    mesh: &Mesh,
    family: Family,
    name: &Name,
    most: usize,
    taken: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut ranges = mesh
        .vip_ranges
        .iter()
        .filter(|range| Family::from(range.ip()) == family);
    ranges.find_map(|range| free(*range, name, most, &taken))
}

/// The first free address of `range`, counting from where `name` falls. The first and last address
/// of a range are left out: in IPv4 they would be its network and broadcast address.
fn free(
    range: IpNetwork,
    name: &Name,
    most: usize,
    taken: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    let bits = match range {
        IpNetwork::V4(range) => 32 - u32::from(range.prefix()),
        IpNetwork::V6(range) => 128 - u32::from(range.prefix()),
    };
    // 2^64 addresses are as good as more.
    let size = (1u128 << bits.min(64)).saturating_sub(2);
    let start = u128::from(fnv1a(name.as_str().as_bytes())) % size.max(1);
    // Every step past a taken address uses up one of finitely many.
    (0..size.min(most as u128 + 1))
        .filter_map(|step| nth(range, 1 + (start + step) % size))
        .find(|ip| !taken(ip))
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
