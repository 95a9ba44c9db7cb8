//! What authorization policies say, out of the tables: as the programs would.

use super::{Tables, Whose};
use kmesh_lite_common::{
    Address, Destination, FrontendKey, Guard, GuardId, Judgement, Port, Protocol, Rule, RuleKey,
    ServiceId, Source, SourceKey,
};
use kmesh_lite_ebpf::{Rules, Sources, authorize, find_destination, judge_arrival};
use std::net::{IpAddr, SocketAddr};

/// Stands for a client that is not known.
const NOBODY: u64 = 0;

/// What policies say of a client that connects to a service.
pub fn judge_client(tables: &Tables, service: ServiceId, whose: &Whose) -> Judgement {
    let row = tables.rows.services.get(&service);
    match row.and_then(|row| row.guard) {
        Some(guard) => judge_guarded(tables, guard, whose),
        None => Judgement::default(),
    }
}

/// What policies say of a client that connects to what has this guard.
pub fn judge_guarded(tables: &Tables, guard: GuardId, whose: &Whose) -> Judgement {
    authorize(&Client { tables, whose }, guard)
}

/// What policies say of a connection that arrives at an address of this host.
pub fn judge_source(
    tables: &Tables,
    protocol: Protocol,
    local: SocketAddr,
    from: IpAddr,
) -> Judgement {
    let local = FrontendKey::new(local.ip().into(), Port::new(local.port()), protocol);
    judge_arrival(&Arriving(tables), &local, &from.into()).unwrap_or_default()
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
    let tables_of_arrivals = Arriving(tables);
    let judgement = judge_arrival(&tables_of_arrivals, local, from)?;
    let destination = find_destination(&tables_of_arrivals, local)?;
    let key = destination.key;
    let destination = self::destination(tables, &key)?;
    let guard = destination.guard?;
    let (_, source) = tables_of_arrivals
        .source(&SourceKey::new(guard, *from, 128))
        .unzip();
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
struct Client<'a> {
    tables: &'a Tables,
    whose: &'a Whose,
}

impl Rules for Client<'_> {
    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.tables.rows.guards.get(&id)
    }

    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        let mut rules = self.tables.rows.rules.values();
        rules.find(|rule| rule.key == *key)
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

/// The sources, as a connection that arrives sees them.
struct Arriving<'a>(&'a Tables);

impl Sources for Arriving<'_> {
    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        destination(self.0, key)
    }

    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.0.rows.guards.get(&id)
    }

    fn source(&self, key: &SourceKey) -> Option<(u32, Option<&Source>)> {
        let sources = &self.0.rows.sources;
        let found = longest(sources.values().map(|source| &source.key), key)?;
        let row = sources.values().find(|source| source.key == *found);
        Some((found.bits, row))
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
    let number = |address: &Address| match IpAddr::from(*address) {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let shift = 128 - bits.saturating_sub(SourceKey::OF_GUARD).min(128);
    (number(one) ^ number(other))
        .checked_shr(shift)
        .unwrap_or(0)
        == 0
}
