//! `[policies]`.

use super::super::Host;
use super::super::read::At;
use super::super::scalar::PrincipalText;
use super::super::suggest::{did_you_mean, quote};
use super::merge::{Entry, Merged};
use super::{Diagnostics, PolicyText, unit};
use crate::model::{Action, Authorization, Mode, Name, Principal};
use std::collections::{BTreeMap, BTreeSet};

const NEVER_MATCHES: &str = "name the unit as `systemctl` does: it never matches otherwise";

pub fn lower(
    merged: &Merged<'_>,
    host: &Host,
    report: &mut Diagnostics,
) -> BTreeMap<Name, Authorization> {
    let mut policies = BTreeMap::new();
    for entry in merged.policies.values() {
        let Some(text) = entry.text else { continue };
        let (Some(action), Some(named), Some(written)) =
            (&text.action.0, &text.services.0, &text.clients.0)
        else {
            continue;
        };
        let mut services = BTreeSet::new();
        for name in &named.items {
            if !merged.services.contains_key(name.value.0.as_str()) {
                let spot = entry.at(name.span);
                report.unknown(
                    spot,
                    "service",
                    "services",
                    name.value.0.as_str(),
                    &merged.services,
                );
            }
            services.insert(name.value.0.clone());
        }
        for client in &written.items {
            check_client(entry, client, host, report);
        }
        if written.items.is_empty() && written.whole {
            let problem = match action.value.0 {
                Action::Allow => entry
                    .at(written.span)
                    .warning("this policy closes its services and allows nobody"),
                _ => entry.at(written.span).warning("this policy denies nothing"),
            };
            report.push(problem.help("`\"*\"` is everybody"));
        }
        if named.items.is_empty() && named.whole {
            let problem = entry
                .at(named.span)
                .warning("this policy is about no service");
            report.push(problem.help("name services, or remove the policy"));
        }
        let clients = written.items.iter().map(|client| client.value.0.clone());
        policies.insert(
            entry.name.value.clone(),
            Authorization {
                action: action.value.0,
                mode: text
                    .mode
                    .as_ref()
                    .map_or(Mode::Enforce, |mode| mode.value.0),
                services,
                ports: BTreeSet::new(),
                clients: Some(clients.collect()),
                from: None,
                on_error: None,
                enforce_existing: false,
                force: false,
            },
        );
    }
    policies
}

/// Warns of a client that this host does not know.
fn check_client(
    entry: &Entry<'_, PolicyText>,
    client: &At<PrincipalText>,
    host: &Host,
    report: &mut Diagnostics,
) {
    let spot = entry.at(client.span);
    let (kind, name, known) = match &client.value.0 {
        Principal::Anyone => return,
        Principal::Cgroup(named) => {
            return unit::check_named(spot, named, host, NEVER_MATCHES, report);
        }
        Principal::User(name) => ("user", name, &host.users),
        Principal::Group(name) => ("group", name, &host.groups),
    };
    if known.is_empty() || known.contains_key(name) || name.parse::<u32>().is_ok() {
        return;
    }
    let help = did_you_mean(name, known.keys().map(String::as_str)).unwrap_or_else(|| {
        format!(
            "names are looked up in /etc/passwd and /etc/group; write `{kind}:NUMBER` for others"
        )
    });
    let problem = spot.warning(format!("this host has no {kind} {}", quote(name)));
    report.push(problem.help(help));
}
