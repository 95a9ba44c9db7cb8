//! What authorization policies say of many clients and sources: by an index, as going through all rows for each of them
//! takes minutes where these are many.

use super::{Tables, Whose};
use kmesh_lite_common::{
    Address, Destination, FrontendKey, Guard, GuardId, Judgement, Port, Protocol, Rule, RuleKey,
    ServiceId, Source, SourceKey,
};
use kmesh_lite_ebpf::{Rules, Sources, authorize, judge_arrival};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Answers as [`judge_client`](super::judge_client) and [`judge_source`](super::judge_source) do.
pub struct Judges<'a> {
    tables: &'a Tables,
    rules: BTreeMap<RuleKey, &'a Rule>,
    destinations: BTreeMap<FrontendKey, &'a Destination>,
    sources: BTreeMap<SourceKey, &'a Source>,
    /// How long keys of a guard are.
    lengths: BTreeMap<Option<GuardId>, BTreeSet<u32>>,
}

impl<'a> Judges<'a> {
    pub fn new(tables: &'a Tables) -> Self {
        let rows = &tables.rows;
        let mut lengths: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
        for source in rows.sources.values() {
            let of_guard = lengths.entry(source.key.guard).or_default();
            of_guard.insert(source.key.bits);
        }
        Self {
            tables,
            rules: rows.rules.values().map(|row| (row.key, row)).collect(),
            destinations: rows
                .destinations
                .values()
                .map(|row| (row.key, row))
                .collect(),
            sources: rows.sources.values().map(|row| (row.key, row)).collect(),
            lengths,
        }
    }

    pub fn client(&self, service: ServiceId, whose: &Whose) -> Judgement {
        let row = self.tables.rows.services.get(&service);
        match row.and_then(|row| row.guard) {
            Some(guard) => authorize(&Client { index: self, whose }, guard),
            None => Judgement::default(),
        }
    }

    pub fn source(&self, protocol: Protocol, local: SocketAddr, from: IpAddr) -> Judgement {
        let local = FrontendKey::new(local.ip().into(), Port::new(local.port()), protocol);
        judge_arrival(self, &local, &from.into()).unwrap_or_default()
    }

    /// Whether policies are about a port of this host.
    pub fn is_meant(&self, protocol: Protocol, local: SocketAddr) -> bool {
        let (address, port) = (local.ip().into(), Port::new(local.port()));
        let places = [address, Address::EVERY].into_iter();
        let mut keys = places.flat_map(|address| [(address, port), (address, Port::EVERY)]);
        keys.any(|(address, port)| {
            let key = FrontendKey::new(address, port, protocol);
            self.destinations.contains_key(&key)
        })
    }
}

struct Client<'a> {
    index: &'a Judges<'a>,
    whose: &'a Whose,
}

/// Stands for a client that is not known.
const NOBODY: u64 = 0;

impl Rules for Client<'_> {
    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.index.tables.rows.guards.get(&id)
    }

    fn rule(&self, key: &RuleKey) -> Option<&Rule> {
        self.index.rules.get(key).copied()
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

impl Sources for Judges<'_> {
    fn destination(&self, key: &FrontendKey) -> Option<&Destination> {
        self.destinations.get(key).copied()
    }

    fn guard(&self, id: GuardId) -> Option<&Guard> {
        self.tables.rows.guards.get(&id)
    }

    fn source(&self, key: &SourceKey) -> Option<(u32, Option<&Source>)> {
        let lengths = self.lengths.get(&key.guard)?;
        let found = lengths.range(..=key.bits).rev().find_map(|bits| {
            let shorter = SourceKey {
                bits: *bits,
                address: cut(&key.address, *bits),
                ..*key
            };
            self.sources.get(&shorter)
        })?;
        Some((found.key.bits, Some(found)))
    }
}

/// An address with 0 in place of the bits after those that count, of which the first are of a guard.
fn cut(address: &Address, bits: u32) -> Address {
    let number = match IpAddr::from(*address) {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let shift = 128 - bits.saturating_sub(SourceKey::OF_GUARD).min(128);
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    IpAddr::from(Ipv6Addr::from(number & mask)).into()
}
