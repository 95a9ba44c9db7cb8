//! What authorization policies say, out of the tables: as the programs would.

use super::{Tables, Whose};
use kmesh_lite_common::{
    Address, AddressKind, Destination, FrontendKey, Guard, GuardId, Judgement, Port, Protocol,
    Rule, RuleKey, ServiceId, Source, SourceKey,
};
use kmesh_lite_ebpf::{Rules, Sources, authorize, find_destination, judge_arrival};
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Stands for a client that is not known.
const NOBODY: u64 = 0;

/// Tables, with what a question of authorization looks for in them. It takes a look at all rows to make one.
pub struct Judge<'a> {
    tables: &'a Tables,
    rules: HashMap<RuleKey, &'a Rule>,
    destinations: HashMap<FrontendKey, &'a Destination>,
    sources: HashMap<SourceKey, &'a Source>,
    /// How many bits sources have, the most first.
    lengths: Vec<u32>,
    /// Addresses of endpoints at which clients are judged; found when it is asked for.
    guarded: OnceCell<HashSet<Address>>,
}

impl<'a> Judge<'a> {
    pub fn of(tables: &'a Tables) -> Self {
        let sources = &tables.rows.sources;
        let lengths: BTreeSet<_> = sources.values().map(|row| row.key.bits).collect();
        Self {
            tables,
            rules: tables
                .rows
                .rules
                .values()
                .map(|row| (row.key, row))
                .collect(),
            destinations: tables
                .rows
                .destinations
                .values()
                .map(|row| (row.key, row))
                .collect(),
            sources: sources.values().map(|row| (row.key, row)).collect(),
            lengths: lengths.into_iter().rev().collect(),
            guarded: OnceCell::new(),
        }
    }

    /// What policies say of a client that connects to a service.
    pub fn client(&self, service: ServiceId, whose: &Whose) -> Judgement {
        let row = self.tables.rows.services.get(&service);
        match row.and_then(|row| row.guard) {
            Some(guard) => self.guarded(guard, whose),
            None => Judgement::default(),
        }
    }

    /// What policies say of a client that connects to what has this guard.
    pub fn guarded(&self, guard: GuardId, whose: &Whose) -> Judgement {
        authorize(&Connecting { judge: self, whose }, guard)
    }

    /// What policies say of a client that connects straight to the address of an endpoint.
    pub fn direct(&self, protocol: Protocol, to: SocketAddr, whose: &Whose) -> Judgement {
        let key = FrontendKey::new(to.ip().into(), Port::new(to.port()), protocol);
        let guarded = self.guarded.get_or_init(|| {
            let rows = self.tables.rows.addresses.values();
            let guarded = rows.filter(|row| row.guarded != 0 && row.kind == AddressKind::Real);
            guarded.map(|row| row.address).collect()
        });
        let destination = self
            .destinations
            .get(&key)
            .filter(|_| guarded.contains(&key.address));
        match destination.and_then(|row| row.guard) {
            Some(guard) => self.guarded(guard, whose),
            None => Judgement::default(),
        }
    }

    /// What policies say of a connection that arrives at an address of this host.
    pub fn arrival(&self, protocol: Protocol, local: SocketAddr, from: IpAddr) -> Judgement {
        let local = FrontendKey::new(local.ip().into(), Port::new(local.port()), protocol);
        judge_arrival(self, &local, &from.into()).unwrap_or_default()
    }
}

/// What policies say of a client that connects to a service.
pub fn judge_client(tables: &Tables, service: ServiceId, whose: &Whose) -> Judgement {
    Judge::of(tables).client(service, whose)
}

/// What policies say of a client that connects to what has this guard.
pub fn judge_guarded(tables: &Tables, guard: GuardId, whose: &Whose) -> Judgement {
    Judge::of(tables).guarded(guard, whose)
}

/// What policies say of a connection that arrives at an address of this host.
pub fn judge_source(
    tables: &Tables,
    protocol: Protocol,
    local: SocketAddr,
    from: IpAddr,
) -> Judgement {
    Judge::of(tables).arrival(protocol, local, from)
}

/// What was found on the way to what policies say of a connection that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    pub destination: &'a Destination,
    pub guard: &'a Guard,
    /// The network that the client is in; none if policies name none around it.
    pub source: Option<&'a Source>,
    pub judgement: Judgement,
}

/// What policies say of a connection that arrives, with what it follows from. None where they say nothing.
pub fn arrived<'a>(tables: &'a Tables, local: &FrontendKey, from: &Address) -> Option<Arrived<'a>> {
    let judge = Judge::of(tables);
    let judgement = judge_arrival(&judge, local, from)?;
    let destination = find_destination(&judge, local)?;
    let key = destination.key;
    let destination = self::destination(tables, &key)?;
    let guard = destination.guard?;
    let (_, source) = judge.source(&SourceKey::new(guard, *from, 128)).unzip();
    let source = source.flatten().map(|row| row.key);
    let mut sources = tables.rows.sources.values();
    Some(Arrived {
        destination,
        guard: tables.rows.guards.get(&guard)?,
        source: source.and_then(|key| sources.find(|row| row.key == key)),
        judgement,
    })
}

/// The destination at this key.
pub fn destination<'a>(tables: &'a Tables, key: &FrontendKey) -> Option<&'a Destination> {
    let mut rows = tables.rows.destinations.values();
    rows.find(|row| row.key == *key)
}

/// The rules, as a client sees them.
struct Connecting<'a> {
    judge: &'a Judge<'a>,
    whose: &'a Whose,
}

impl Rules for Connecting<'_> {
    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.judge.tables.rows.guards.get(&id)
    }

    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        self.judge.rules.get(key).copied()
    }

    fn cgroup(&self, level: u32) -> u64 {
        let ids = self.whose.lineage.get(level as usize);
        ids.copied().unwrap_or(NOBODY)
    }

    fn user(&self) -> u32 {
        self.whose.user.unwrap_or(u32::MAX)
    }

    fn group(&self) -> u32 {
        self.whose.group.unwrap_or(u32::MAX)
    }
}

impl Sources for Judge<'_> {
    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        self.destinations.get(key).copied()
    }

    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.tables.rows.guards.get(&id)
    }

    fn source(&self, key: &SourceKey) -> Option<(u32, Option<&Source>)> {
        let mut lengths = self.lengths.iter().filter(|bits| **bits <= key.bits);
        let found = lengths.find_map(|bits| {
            let bits_of_address = bits.saturating_sub(SourceKey::OF_GUARD);
            let address = beginning(&key.address, bits_of_address);
            let guard = key.guard?;
            self.sources
                .get(&SourceKey::new(guard, address, bits_of_address))
        })?;
        Some((found.key.bits, Some(found)))
    }
}

/// An address of which only so many bits are left.
fn beginning(address: &Address, bits: u32) -> Address {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    IpAddr::from(Ipv6Addr::from(number(address) & mask)).into()
}

fn number(address: &Address) -> u128 {
    match IpAddr::from(*address) {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The longest of these that `key` begins with.
pub fn longest<'a>(
    keys: impl Iterator<Item = &'a SourceKey>,
    key: &SourceKey,
) -> Option<&'a SourceKey> {
    let begins = |it: &&SourceKey| {
        it.guard == key.guard
            && it.bits <= key.bits
            && same_bits(&it.address, &key.address, it.bits)
    };
    keys.filter(begins).max_by_key(|it| it.bits)
}

/// Whether two addresses are the same in as many bits as follow those of a guard.
fn same_bits(one: &Address, other: &Address, bits: u32) -> bool {
    let shift = 128 - bits.saturating_sub(SourceKey::OF_GUARD).min(128);
    (number(one) ^ number(other))
        .checked_shr(shift)
        .unwrap_or(0)
        == 0
}
