//! Who may reach what: every client that policies name, or that connects, before every service that policies are
//! about; and every source that they name, before every target.

mod arrival;
mod client;
mod described;
mod verdict;

pub use client::cgroups_of_clients;

use super::few::FEW;
use crate::api::{Failure, FailureKind, Policies};
use crate::config::{closest, either, meant, quote};
use crate::host::Lineage;
use crate::kernel::Snapshot;
use crate::model::{Facts, Mesh, Table};
use crate::tables::{Judge, Tables};
use client::Clients;
use kmesh_lite_common::ServiceId;
use std::collections::{BTreeMap, BTreeSet};
use verdict::Verdicts;

/// Pairs that an answer may have.
const MOST: usize = 16_384;

/// What policies say; what one decides, if it is named. `lineages` are those of [`cgroups_of_clients`].
pub fn policies(
    snapshot: &Snapshot,
    mesh: Option<&Mesh>,
    facts: &Facts,
    lineages: &BTreeMap<u64, Lineage>,
    name: Option<&str>,
) -> Result<Policies, Failure> {
    let mut policies = described::policies(snapshot, mesh, facts);
    if let Some(name) = name {
        let known: Vec<_> = policies.iter().map(|it| it.name.clone()).collect();
        if !known.iter().any(|it| it == name) {
            return Err(no_such_policy(name, &known));
        }
        policies.retain(|it| it.name == name);
    }
    let judge = Judge::of(&snapshot.tables);
    let verdicts = Verdicts::new(snapshot, &judge, mesh, facts);
    let clients = Clients::new(snapshot, mesh, facts, lineages);
    let guarded = guarded(&snapshot.tables, mesh, &verdicts, &clients);
    let mut outbound = Vec::new();
    let mut left_out = 0;
    for (client, whose) in &clients.all {
        for (service, id) in &guarded {
            let reach = verdicts.client(client, whose.as_ref(), service, *id);
            if name.is_some() && reach.policy.as_deref() != name {
                continue;
            }
            match outbound.len() < MOST {
                true => outbound.push(reach),
                false => left_out += 1,
            }
        }
    }
    let (mut inbound, beyond) = arrival::pairs(&snapshot.tables, &judge, mesh);
    inbound.retain(|it| name.is_none() || it.policy.as_deref() == name);
    left_out += beyond;
    let open = services(&snapshot.tables);
    let open = open.into_keys().filter(|it| !guarded.contains_key(it));
    Ok(Policies {
        policies,
        outbound,
        inbound,
        left_out,
        open: match name {
            None => open.collect(),
            Some(_) => Vec::new(),
        },
    })
}

fn services(tables: &Tables) -> BTreeMap<String, ServiceId> {
    let services = tables.rows.services.keys();
    let named = services.filter_map(|id| Some((tables.name(Table::Services, id.index())?, *id)));
    named.collect()
}

/// Services that policies are about, on the side of clients. Without a mesh, those of which they say something to a
/// client that is known.
fn guarded(
    tables: &Tables,
    mesh: Option<&Mesh>,
    verdicts: &Verdicts<'_>,
    clients: &Clients,
) -> BTreeMap<String, ServiceId> {
    let mut services = services(tables);
    let Some(mesh) = mesh else {
        services.retain(|_, id| {
            clients
                .all
                .values()
                .any(|it| verdicts.says(it.as_ref(), *id))
        });
        return services;
    };
    let policies = mesh.policies.values();
    let outbound = policies.filter(|it| it.clients.is_some());
    let named: BTreeSet<_> = outbound.flat_map(|it| &it.services).collect();
    services.retain(|name, _| named.iter().any(|it| it.as_str() == name));
    services
}

fn no_such_policy(name: &str, known: &[String]) -> Failure {
    let names = known.iter().map(String::as_str);
    let help = match closest(name, names.clone()) {
        Some(name) => format!(": {}", meant(name)),
        None if known.is_empty() => ": there is none".to_owned(),
        None if known.len() <= FEW => format!(": it is {}", either(names)),
        None => String::new(),
    };
    let error = format!("there is no policy {}{help}", quote(name));
    Failure::new(FailureKind::NotFound, error)
}

#[cfg(test)]
mod tests;
