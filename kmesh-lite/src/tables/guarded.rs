//! Which targets authorization policies are about, and where connections to them arrive.
//!
//! In: the mesh. Out: the guards by name, each with what it is for, and the destinations that lead to them.

use super::build::guarded_addresses;
use super::matched::matched_networks;
use crate::model::{Authorization, LocalPorts, Mesh, Name, Principal};
use kmesh_lite_common::{Address, FrontendKey, Name as RowName, Port};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Something that policies are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarded<'a> {
    Service(&'a Name),
    /// Ports of this host, of one policy.
    Ports(&'a Name),
}

/// Everything that policies are about.
#[derive(Debug, Default)]
pub struct GuardedTargets<'a> {
    /// What each guard is for. Several things are guarded together where they are at the same address and port.
    pub by_name: BTreeMap<RowName, BTreeSet<Guarded<'a>>>,
    /// The guard of each destination.
    pub destinations: BTreeMap<FrontendKey, RowName>,
}

impl<'a> GuardedTargets<'a> {
    pub fn of(mesh: &'a Mesh) -> Self {
        let mut there: BTreeMap<FrontendKey, BTreeSet<Guarded<'a>>> = BTreeMap::new();
        let mut guards = Self::default();
        for name in mesh.guarded() {
            let Some(service) = mesh.services.get(name) else {
                continue;
            };
            let guarded = Guarded::Service(name);
            guards.name(BTreeSet::from([guarded]));
            for endpoint in &service.endpoints {
                for mapping in &service.ports {
                    let port = Port::new(endpoint.port(mapping));
                    let key = FrontendKey::new(endpoint.address.into(), port, mapping.protocol);
                    there.entry(key).or_default().insert(guarded);
                }
            }
        }
        let ports: Vec<_> = mesh
            .policies
            .iter()
            .flat_map(|(name, policy)| policy.ports.iter().map(move |ports| (name, *ports)))
            .collect();
        for key in ports.iter().flat_map(|(_, ports)| keys(ports)) {
            there.entry(key).or_default();
        }
        cross(&mut there);
        for (key, mut guarded) in there {
            let covering = ports.iter().filter(|(_, ports)| covers(ports, &key));
            guarded.extend(covering.map(|(name, _)| Guarded::Ports(name)));
            let name = guards.name(guarded);
            guards.destinations.insert(key, name);
        }
        guards
    }

    /// The name of the guard for all of these.
    fn name(&mut self, guarded: BTreeSet<Guarded<'a>>) -> RowName {
        let name = name_of(&guarded);
        self.by_name.entry(name).or_insert(guarded);
        name
    }
}

/// The policies that a guard stands for, by name, each with whether it is about a service here.
pub fn policies<'a>(
    mesh: &'a Mesh,
    guarded: &BTreeSet<Guarded<'_>>,
) -> Vec<(&'a Name, &'a Authorization, bool)> {
    let policies = mesh.policies.iter().filter_map(|(name, policy)| {
        let mut services = policy.services.iter();
        let by_service = services.any(|service| guarded.contains(&Guarded::Service(service)));
        let is_meant = by_service || guarded.contains(&Guarded::Ports(name));
        is_meant.then_some((name, policy, by_service))
    });
    policies.collect()
}

/// The name of the guard of a service.
pub fn name_of_service(service: &Name) -> RowName {
    service.to_row()
}

/// A service by its name, other things joined. A name that does not fit ends with a number that follows from all of it.
fn name_of(guarded: &BTreeSet<Guarded<'_>>) -> RowName {
    let parts = guarded.iter().map(|it| match it {
        Guarded::Service(name) => name.to_string(),
        Guarded::Ports(policy) => format!("ports:{policy}"),
    });
    let whole = parts.collect::<Vec<_>>().join("+");
    RowName::new(&whole).unwrap_or_else(|| {
        const NUMBER: usize = 17;
        let kept = &whole[..RowName::CAPACITY - NUMBER];
        let short = format!("{kept}~{:016x}", number_of(&whole));
        RowName::new(&short).expect("it was cut to what fits")
    })
}

/// FNV-1a (Fowler, Noll, Vo), of 64 bits.
fn number_of(text: &str) -> u64 {
    let bytes = text.bytes().map(u64::from);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ byte).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The destinations of ports as they are written.
fn keys(ports: &LocalPorts) -> Vec<FrontendKey> {
    let address = ports.address.map_or(Address::EVERY, Address::from);
    let key = |port| FrontendKey::new(address, port, ports.protocol);
    match ports.range {
        None => vec![key(Port::EVERY)],
        Some((first, last)) => (first..=last).map(|port| key(Port::new(port))).collect(),
    }
}

/// Adds a destination for each address of which every port counts, and each port that counts at every address: neither of
/// the two says all of what is where they meet.
fn cross(there: &mut BTreeMap<FrontendKey, BTreeSet<Guarded<'_>>>) {
    let (every, all) = (Address::EVERY, Port::EVERY);
    let addresses: Vec<_> = there
        .keys()
        .filter(|key| key.address != every && key.port == all)
        .copied()
        .collect();
    let ports: Vec<_> = there
        .keys()
        .filter(|key| key.address == every && key.port != all)
        .copied()
        .collect();
    for address in &addresses {
        let same = ports.iter().filter(|it| it.protocol == address.protocol);
        for port in same {
            let key = FrontendKey::new(address.address, port.port, port.protocol);
            there.entry(key).or_default();
        }
    }
}

/// Whether ports are about all of a destination.
fn covers(ports: &LocalPorts, key: &FrontendKey) -> bool {
    let is_same = |own: IpAddr| Address::from(own) == key.address;
    ports.protocol == key.protocol
        && ports.address.is_none_or(is_same)
        && ports.range.is_none_or(|(first, last)| {
            key.port != Port::EVERY && (first..=last).contains(&key.port.get())
        })
}

/// Rows that a mesh needs for what policies are about.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardedRows {
    pub guards: usize,
    pub destinations: usize,
    /// Where each client has one number.
    pub rules: usize,
    /// At most.
    pub sources: usize,
    /// Those that have no row for another reason as well.
    pub addresses: usize,
}

/// Counts the rows that a mesh needs for what policies are about.
pub fn guarded_rows(mesh: &Mesh) -> GuardedRows {
    if mesh.policies.is_empty() {
        return GuardedRows::default();
    }
    let guards = GuardedTargets::of(mesh);
    let sources = guards.by_name.values().map(|guarded| {
        let policies = policies(mesh, guarded);
        let networks = policies
            .iter()
            .map(|(_, policy, _)| matched_networks(mesh, policy));
        match networks.collect::<Vec<_>>().as_slice() {
            [] => 0,
            // All IPv4 addresses may need one of their own.
            [one] => one.len() + 1,
            several => several.iter().flatten().collect::<BTreeSet<_>>().len() + 1,
        }
    });
    let rules = guards.by_name.values().map(|guarded| {
        let policies = policies(mesh, guarded).into_iter();
        let policies = policies.filter(|(_, _, by_service)| *by_service);
        let clients = policies.filter_map(|(_, policy, _)| policy.clients.as_ref());
        let mut clients: BTreeSet<_> = clients.flatten().collect();
        clients.remove(&Principal::Anyone);
        clients.len()
    });
    GuardedRows {
        rules: rules.sum(),
        sources: match mesh.judges_arrivals() {
            true => sources.sum(),
            false => 0,
        },
        guards: guards.by_name.len(),
        destinations: guards.destinations.len(),
        addresses: guarded_addresses(mesh).len(),
    }
}
