//! `[policies]` and `[groups]`.

mod clients;
mod contradiction;
mod groups;
mod kept;
mod ports;
mod repeated;
mod sides;
mod sources;

pub use kept::KeptSources;

use super::super::Host;
use super::super::policy::PolicyText;
use super::super::read::At;
use super::super::scalar::{Flag, NameText};
use super::merge::{Entry, Merged};
use super::{Diagnostics, Services};
use crate::model::{Authorization, Mode, Name, Place};
use sources::Sources;
use std::collections::{BTreeMap, BTreeSet};

/// What policies are lowered with.
pub struct Context<'a> {
    pub host: &'a Host,
    pub node: &'a Place,
    pub services: &'a Services,
}

/// A policy, and how it is written.
struct LoweredPolicy<'a> {
    entry: &'a Entry<'a, PolicyText>,
    text: &'a PolicyText,
    model: Authorization,
    /// Whether all of what it has to say of clients could be understood.
    has_all_clients: bool,
    has_all_sources: bool,
}

/// The policies, and what to keep for the next time.
pub fn lower(
    merged: &Merged<'_>,
    context: &Context<'_>,
    before: &KeptSources,
    report: &mut Diagnostics,
) -> (BTreeMap<Name, Authorization>, KeptSources) {
    let mut sources = Sources::new(merged, context, before);
    groups::resolve(&mut sources, report);
    let mut lowered = Vec::new();
    for entry in merged.policies.values() {
        lowered.extend(lower_one(entry, merged, context.host, &mut sources, report));
    }
    contradiction::check(&lowered, &sources, report);
    let policies = lowered.into_iter();
    let policies = policies.map(|policy| (policy.entry.name.value.clone(), policy.model));
    (policies.collect(), sources.kept())
}

/// None if it is not known what it does, or it has no use.
fn lower_one<'a>(
    entry: &'a Entry<'_, PolicyText>,
    merged: &Merged<'_>,
    host: &Host,
    sources: &mut Sources<'_>,
    report: &mut Diagnostics,
) -> Option<LoweredPolicy<'a>> {
    let text = entry.text?;
    let services = services(entry, text, merged, report);
    for client in text.clients.iter().flat_map(|list| &list.items) {
        clients::check(entry, client, host, report);
    }
    if let Some(clients) = &text.clients {
        let at = |span| entry.at(span);
        repeated::check(at, clients, |it| &it.0, |it| it.to_string(), report);
    }
    let ports = ports::lower(entry, text, host, report);
    let from = text.from.as_ref().map(|written| {
        let at = |span| entry.at(span);
        sources.of_policy(&entry.name.value, at, written, report)
    });
    sides::check(entry, text, report);
    let action = text.action.0.as_ref()?.value.0;
    let has_all_sources = from.as_ref().is_none_or(|it| it.whole);
    let model = Authorization {
        action,
        mode: text
            .mode
            .as_ref()
            .map_or(Mode::Enforce, |mode| mode.value.0),
        services,
        ports,
        clients: text.clients.as_ref().map(|written| {
            let clients = written.items.iter().map(|client| client.value.0.clone());
            clients.collect()
        }),
        from: from.as_ref().map(|it| it.sources.clone()),
        on_error: text.on_error.as_ref().map(|it| it.value.0),
        enforce_existing: is_set(&text.enforce_existing),
        force: is_set(&text.force),
    };
    sides::warn_of_nobody(entry, text, action, from.as_ref(), sources, report);
    sides::warn_of_no_effect(entry, text, &model, report);
    ports::warn_of_answers(entry, text, &model, report);
    Some(LoweredPolicy {
        entry,
        text,
        model,
        has_all_clients: text.clients.as_ref().is_none_or(|list| list.whole),
        has_all_sources,
    })
}

fn is_set(flag: &Option<At<Flag>>) -> bool {
    flag.as_ref().is_some_and(|flag| flag.value.0)
}

fn services(
    entry: &Entry<'_, PolicyText>,
    text: &PolicyText,
    merged: &Merged<'_>,
    report: &mut Diagnostics,
) -> BTreeSet<Name> {
    let Some(named) = &text.services else {
        return BTreeSet::new();
    };
    for name in &named.items {
        if !merged.services.contains_key(name.value.0.as_str()) {
            let spot = entry.at(name.span);
            let name = name.value.0.as_str();
            report.unknown(spot, "service", "services", name, &merged.services);
        }
    }
    let at = |span| entry.at(span);
    repeated::check(at, named, |it: &NameText| &it.0, Name::to_string, report);
    named.items.iter().map(|it| it.value.0.clone()).collect()
}
