//! Policies with whom they match.

use crate::api::{AboutPolicy, PolicyClient, PolicySource};
use crate::kernel::Snapshot;
use crate::model::{Authorization, Facts, LocalPorts, Mesh, OnError, Principal, Source};
use kmesh_lite_common::AuthorizationId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Networks of one source that an answer has.
const MOST: usize = 64;

/// By name. Without a mesh there is only what the tables know.
pub fn policies(snapshot: &Snapshot, mesh: Option<&Mesh>, facts: &Facts) -> Vec<AboutPolicy> {
    let refused = &snapshot.counters.refused();
    let rows = snapshot.tables.rows.authorizations.iter();
    let policy = |(id, row): (&AuthorizationId, &kmesh_lite_common::Authorization)| {
        let name = row.name.to_string();
        let meant = mesh.and_then(|mesh| Some((mesh, mesh.policies.get(name.as_str())?)));
        let known = AboutPolicy {
            action: row.action.to_string(),
            mode: row.mode.to_string(),
            refused: refused.get(id).copied().unwrap_or_default(),
            name,
            ..AboutPolicy::default()
        };
        match meant {
            Some((mesh, policy)) => described(known, policy, mesh, facts),
            None => known,
        }
    };
    let mut policies: Vec<_> = rows.map(policy).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies
}

fn described(
    known: AboutPolicy,
    policy: &Authorization,
    mesh: &Mesh,
    facts: &Facts,
) -> AboutPolicy {
    let clients = policy.clients.as_ref();
    let sources = policy.from.as_ref();
    AboutPolicy {
        services: policy.services.iter().map(ToString::to_string).collect(),
        ports: policy.ports.iter().map(ports).collect(),
        clients: clients.map(|it| it.iter().map(|client| matched(client, facts)).collect()),
        from: sources.map(|it| it.iter().map(|source| resolved(source, mesh)).collect()),
        on_error: policy.on_error.map(|it| {
            match it {
                OnError::Open => "open",
                OnError::Closed => "closed",
            }
            .to_owned()
        }),
        enforce_existing: policy.enforce_existing,
        force: policy.force,
        ..known
    }
}

fn matched(client: &Principal, facts: &Facts) -> PolicyClient {
    let number = |name: &String, known: &BTreeMap<String, u32>| {
        name.parse().ok().or_else(|| known.get(name).copied())
    };
    let name = client.to_string();
    match client {
        Principal::Anyone => PolicyClient {
            name,
            ..PolicyClient::default()
        },
        Principal::Cgroup(reference) => {
            let cgroups = facts.cgroups(reference).iter();
            PolicyClient {
                cgroups: cgroups.map(|it| it.path.display().to_string()).collect(),
                name,
                number: None,
            }
        }
        Principal::User(user) => PolicyClient {
            number: number(user, &facts.users),
            name,
            ..PolicyClient::default()
        },
        Principal::Group(group) => PolicyClient {
            number: number(group, &facts.groups),
            name,
            ..PolicyClient::default()
        },
    }
}

fn resolved(source: &Source, mesh: &Mesh) -> PolicySource {
    let networks: BTreeSet<String> = match source {
        Source::Network(_) => BTreeSet::new(),
        _ => addresses(source, mesh)
            .into_iter()
            .map(|it| it.to_string())
            .collect(),
    };
    PolicySource {
        name: self::source(source),
        left_out: networks.len().saturating_sub(MOST),
        networks: networks.into_iter().take(MOST).collect(),
    }
}

/// The addresses that a source which is no network stands for now.
pub fn addresses(source: &Source, mesh: &Mesh) -> BTreeSet<IpAddr> {
    let all = mesh.services.values().flat_map(|it| &it.endpoints);
    match source {
        Source::Network(_) => BTreeSet::new(),
        Source::Service(name) => {
            let service = mesh.services.get(name);
            let endpoints = service.iter().flat_map(|it| &it.endpoints);
            endpoints.map(|it| it.address).collect()
        }
        Source::Locality(place) => {
            let there = all.filter(|it| place.holds(&it.place.locality));
            there.map(|it| it.address).collect()
        }
    }
}

/// A source as the file could have it.
pub fn source(source: &Source) -> String {
    match source {
        Source::Network(network) => match network.prefix() {
            32 if network.is_ipv4() => network.ip().to_string(),
            128 => network.ip().to_string(),
            _ => network.to_string(),
        },
        Source::Service(name) => format!("service:{name}"),
        Source::Locality(place) => format!("locality:{place}"),
    }
}

/// Ports as the file could have them.
pub fn ports(ports: &LocalPorts) -> String {
    let protocol = match ports.protocol {
        crate::model::Protocol::Tcp => String::new(),
        other => format!("/{other}"),
    };
    let range = match ports.range {
        None => "*".to_owned(),
        Some((first, last)) if first == last => first.to_string(),
        Some((first, last)) => format!("{first}-{last}"),
    };
    let place = match (ports.address, ports.range) {
        (None, _) => range,
        (Some(address), Some((first, last))) if first == last => {
            SocketAddr::new(address, first).to_string()
        }
        (Some(IpAddr::V6(address)), _) => format!("[{address}]:{range}"),
        (Some(address), _) => format!("{address}:{range}"),
    };
    place + &protocol
}
