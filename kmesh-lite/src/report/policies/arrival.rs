//! What may arrive: every source that policies name, before every target of which they say where connections may come
//! from.

use super::described::{addresses, ports, source};
use super::verdict::allowing;
use crate::api::Reach;
use crate::model::{Action, Authorization, Mesh, Source, Table};
use crate::tables::{Guarded, GuardedTargets, Judge, Network, Tables, is_resolved, policies_at};
use ipnetwork::IpNetwork;
use kmesh_lite_common::{AuthorizationId, FrontendKey, GuardId, Judgement, Protocol, SourceKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Sources that are shown; there may be a hundred thousand.
const MOST: usize = 512;
/// Addresses of one source that are judged.
const ADDRESSES: usize = 64;

/// Targets by name, each with what all policies together say of it.
struct Target<'a> {
    name: String,
    guard: GuardId,
    at: (Protocol, SocketAddr),
    policies: Vec<(&'a str, &'a Authorization)>,
}

impl Target<'_> {
    /// What holds wherever nothing is said. While names have no answer, `on_error` may have a policy match every address.
    fn elsewhere(&self, tables: &Tables, mesh: Option<&Mesh>) -> Judgement {
        let every = self.unresolved(mesh).and_then(|_| {
            let [all, all_v4] = Network::EVERY;
            let network = if self.at.1.is_ipv4() { all_v4 } else { all };
            let key = SourceKey::new(self.guard, network.address(), network.bits);
            tables.rows.sources.values().find(|row| row.key == key)
        });
        let guard = tables.rows.guards.get(&self.guard);
        let guard = guard.map_or_else(Judgement::default, |guard| guard.elsewhere);
        every.map_or(guard, |row| row.judgement)
    }

    /// The first policy that counts as `on_error` says.
    fn unresolved(&self, mesh: Option<&Mesh>) -> Option<&str> {
        let mesh = mesh?;
        let mut policies = self.policies.iter();
        let is_unresolved =
            |policy: &Authorization| policy.on_error.is_some() && !is_resolved(mesh, policy);
        let unresolved = policies.find(|(_, policy)| is_unresolved(policy))?;
        Some(unresolved.0)
    }
}

/// A source as it is shown, with an address that stands for it; none where there is none at the moment.
type Shown = (String, Option<IpAddr>);

/// The pairs, and how many there are beyond them.
pub fn pairs(tables: &Tables, judge: &Judge<'_>, mesh: Option<&Mesh>) -> (Vec<Reach>, u64) {
    let targets = targets(tables, mesh);
    if targets.is_empty() {
        return (Vec::new(), 0);
    }
    let mut sources = BTreeSet::new();
    for policy in mesh.iter().flat_map(|mesh| mesh.policies.values()) {
        sources.extend(policy.from.iter().flatten());
    }
    let mut left_out = sources.len().saturating_sub(MOST) * targets.len();
    let shown = mesh.map_or_else(Vec::new, |mesh| shown(&sources, mesh, judge, &targets));
    let mut pairs = Vec::new();
    for (name, address) in shown {
        for target in &targets {
            let (protocol, local) = target.at;
            let (verdict, policy) = match address {
                None => ("unjudged", None),
                Some(from) => {
                    let judgement = judge.arrival(protocol, local, from);
                    said(tables, judgement, || {
                        let matches = |policy: &Authorization| matches(policy, from, mesh);
                        allowing(&target.policies, matches)
                    })
                }
            };
            match pairs.len() < super::MOST {
                true => pairs.push(reach(&name, target, verdict, policy, address.is_none())),
                false => left_out += 1,
            }
        }
    }
    for target in &targets {
        let (verdict, policy) = said(tables, target.elsewhere(tables, mesh), || {
            let open = |name: &&str| {
                let mut policies = target.policies.iter();
                policies.any(|(it, policy)| it == name && policy.action == Action::Allow)
            };
            target.unresolved(mesh).filter(open).map(str::to_owned)
        });
        pairs.push(reach("*", target, verdict, policy, false));
    }
    (pairs, left_out as u64)
}

fn reach(
    from: &str,
    target: &Target<'_>,
    verdict: &str,
    policy: Option<String>,
    absent: bool,
) -> Reach {
    Reach {
        from: from.to_owned(),
        to: target.name.clone(),
        verdict: verdict.to_owned(),
        policy,
        absent,
    }
}

/// Without a mesh, guards that say something wherever a connection comes from.
fn targets<'a>(tables: &Tables, mesh: Option<&'a Mesh>) -> Vec<Target<'a>> {
    let mut at: BTreeMap<GuardId, FrontendKey> = BTreeMap::new();
    for row in tables.rows.destinations.values() {
        if let Some(guard) = row.guard {
            at.entry(guard).or_insert(row.key);
        }
    }
    let meant = mesh.map(GuardedTargets::of);
    let target = |(guard, key): (GuardId, FrontendKey)| {
        let row = tables.rows.guards.get(&guard)?;
        let guarded = meant.as_ref().and_then(|it| it.by_name.get(&row.name));
        let policies = mesh.zip(guarded).map(|(mesh, guarded)| {
            let policies = policies_at(mesh, guarded).into_iter();
            let of_sources = policies.filter(|(_, policy, _)| policy.from.is_some());
            of_sources
                .map(|(name, policy, _)| (name.as_str(), policy))
                .collect()
        });
        let policies: Vec<_> = policies.unwrap_or_default();
        let says_something = match mesh {
            Some(_) => !policies.is_empty(),
            None => row.elsewhere != Judgement::default(),
        };
        let name = mesh
            .zip(guarded)
            .map(|(mesh, guarded)| words(mesh, guarded));
        says_something.then(|| Target {
            name: name.unwrap_or_else(|| row.name.to_string()),
            guard,
            at: (
                key.protocol,
                SocketAddr::new(key.address.into(), key.port.get()),
            ),
            policies,
        })
    };
    let mut targets: Vec<_> = at.into_iter().filter_map(target).collect();
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    targets
}

/// What is guarded together: services by their names, and ports as they are written.
fn words(mesh: &Mesh, guarded: &BTreeSet<Guarded<'_>>) -> String {
    let mut words = Vec::new();
    for it in guarded {
        match it {
            Guarded::Service(name) => words.push(name.to_string()),
            Guarded::Ports(policy) => {
                let policy = mesh.policies.get(policy.as_str());
                let of_policy = policy.iter().flat_map(|policy| &policy.ports);
                words.extend(of_policy.map(|it| format!("port {}", ports(it))));
            }
        }
    }
    words.join(", ")
}

fn said(
    tables: &Tables,
    judgement: Judgement,
    allowed: impl FnOnce() -> Option<String>,
) -> (&'static str, Option<String>) {
    let named = |id: AuthorizationId| tables.name(Table::Authorizations, id.index());
    match (judgement.denied, judgement.audited) {
        (Some(id), _) => ("denied", named(id)),
        (None, Some(id)) => ("audited", named(id)),
        (None, None) => ("allowed", allowed()),
    }
}

/// Sources by name. One whose addresses are not judged alike is shown address by address.
fn shown(
    sources: &BTreeSet<&Source>,
    mesh: &Mesh,
    judge: &Judge<'_>,
    targets: &[Target<'_>],
) -> Vec<Shown> {
    let networks: Vec<IpNetwork> = sources
        .iter()
        .filter_map(|it| match it {
            Source::Network(network) => Some(*network),
            _ => None,
        })
        .collect();
    let verdicts = |from: IpAddr| -> Vec<Judgement> {
        let judged = targets.iter().map(|target| {
            let (protocol, local) = target.at;
            judge.arrival(protocol, local, from)
        });
        judged.collect()
    };
    let mut shown = Vec::new();
    for it in sources.iter().take(MOST) {
        let name = source(it);
        if let Source::Network(network) = it {
            shown.push((name, Some(alone(network, &networks))));
            continue;
        }
        let addresses = addresses(it, mesh);
        let addresses: Vec<_> = addresses.into_iter().take(ADDRESSES).collect();
        let Some(first) = addresses.first() else {
            shown.push((name, None));
            continue;
        };
        let expected = verdicts(*first);
        match addresses.iter().all(|it| verdicts(*it) == expected) {
            true => shown.push((name, Some(*first))),
            false => {
                let each = addresses
                    .iter()
                    .map(|it| (format!("{name} {it}"), Some(*it)));
                shown.extend(each);
            }
        }
    }
    shown
}

/// An address of a network that is in none of the smaller ones, if there is one.
fn alone(network: &IpNetwork, networks: &[IpNetwork]) -> IpAddr {
    let smaller = |it: &&IpNetwork| it.prefix() > network.prefix() && network.contains(it.ip());
    let smaller: Vec<_> = networks.iter().filter(smaller).collect();
    let behind = smaller.iter().filter_map(|it| next(it.broadcast()));
    let mut candidates = [network.ip(), network.broadcast()]
        .into_iter()
        .chain(behind);
    let found = candidates.find(|address| {
        network.contains(*address) && !smaller.iter().any(|it| it.contains(*address))
    });
    found.unwrap_or_else(|| network.ip())
}

/// The address after this one.
fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(IpAddr::from(u32::from(v4).checked_add(1)?.to_be_bytes())),
        IpAddr::V6(v6) => Some(IpAddr::from(u128::from(v6).checked_add(1)?.to_be_bytes())),
    }
}

fn matches(policy: &Authorization, from: IpAddr, mesh: Option<&Mesh>) -> bool {
    let mut sources = policy.from.iter().flatten();
    sources.any(|it| match it {
        Source::Network(network) => network.contains(from),
        other => mesh.is_some_and(|mesh| addresses(other, mesh).contains(&from)),
    })
}
