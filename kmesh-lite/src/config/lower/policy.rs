//! `[policies]` and `[groups]`.

mod clients;
mod contradiction;
mod groups;
mod ports;
mod repeated;
mod sources;

pub use sources::KeptSources;

use super::super::Host;
use super::super::policy::PolicyText;
use super::super::read::{At, List};
use super::super::scalar::{Flag, NameText};
use super::merge::{Entry, Merged};
use super::{Diagnostics, Services};
use crate::model::{Action, Authorization, Mode, Name, Place};
use sources::{Matched, Sources};
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

pub fn lower(
    merged: &Merged<'_>,
    context: &Context<'_>,
    kept: &mut KeptSources,
    report: &mut Diagnostics,
) -> BTreeMap<Name, Authorization> {
    let mut sources = Sources::new(merged, context, kept);
    groups::resolve(&mut sources, report);
    let mut lowered = Vec::new();
    for entry in merged.policies.values() {
        lowered.extend(lower_one(entry, merged, context.host, &mut sources, report));
    }
    contradiction::check(&lowered, &sources, report);
    *kept = sources.kept();
    let policies = lowered.into_iter();
    policies
        .map(|policy| (policy.entry.name.value.clone(), policy.model))
        .collect()
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
    check_sides(entry, text, report);
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
    warn_of_nobody(entry, text, action, from.as_ref(), sources, report);
    warn_of_no_effect(entry, text, &model, report);
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

/// A policy is about something and somebody, and each side has both.
fn check_sides(entry: &Entry<'_, PolicyText>, text: &PolicyText, report: &mut Diagnostics) {
    // A key that could not be read may be what is missing.
    if !text.sound {
        return;
    }
    let services = some(&text.services);
    let ports = some(&text.ports);
    if !services && !ports {
        let written = text.services.as_ref().map(|it| it.span);
        let written = written.or(text.ports.as_ref().map(|it| it.span));
        let problem = entry
            .at(written.unwrap_or(text.span))
            .error("this policy is about nothing");
        report.push(
            problem
                .expected("`services`, or `ports` of this host")
                .help("name what it is about, or remove the policy"),
        );
    }
    if text.clients.is_none() && text.from.is_none() {
        let problem = entry
            .at(text.span)
            .error("this policy says nothing of anybody");
        report.push(problem.expected("`clients`, or `from`").help(
            "`clients` are programs of this host that connect to services; `from` are addresses that connect to this host",
        ));
    }
    if let Some(clients) = &text.clients
        && !services
        && ports
    {
        let problem = entry.at(clients.span).error("`clients` need `services`");
        report.push(problem.expected("`services`").help(
            "programs are judged when they connect to a service; who connects to `ports` of this host is a matter of `from`",
        ));
    }
    if let Some(ports) = &text.ports
        && text.from.is_none()
        && text.clients.is_some()
    {
        let problem = entry.at(ports.span).error("`ports` need `from`");
        report.push(problem.expected("`from`").help(
            "who connects to `ports` of this host is known by address; programs (`clients`) are judged when they connect to `services`",
        ));
    }
}

fn some<T>(list: &Option<List<T>>) -> bool {
    list.as_ref()
        .is_some_and(|list| !list.items.is_empty() || !list.whole)
}

/// Warns of a side that matches nobody.
fn warn_of_nobody(
    entry: &Entry<'_, PolicyText>,
    text: &PolicyText,
    action: Action,
    from: Option<&Matched>,
    sources: &Sources<'_>,
    report: &mut Diagnostics,
) {
    let mut warn = |span, allows: &str, help: &str| {
        let message = match action {
            Action::Allow => allows,
            _ => "this policy denies nothing",
        };
        report.push(entry.at(span).warning(message).help(help));
    };
    if let Some(clients) = &text.clients
        && clients.items.is_empty()
        && clients.whole
    {
        warn(
            clients.span,
            "this policy closes its services and allows nobody",
            "`\"*\"` is everybody",
        );
    }
    let (Some(written), Some(from)) = (&text.from, from) else {
        return;
    };
    if !from.whole || sources.match_somebody(from) {
        return;
    }
    let help = match written.items.is_empty() {
        true => "`0.0.0.0/0` is every IPv4 address, and `::/0` every IPv6 address",
        false => "what it names has no address at all",
    };
    warn(
        written.span,
        "this policy closes what it is about and lets nobody in",
        help,
    );
}

/// Warns of keys that change nothing.
fn warn_of_no_effect(
    entry: &Entry<'_, PolicyText>,
    text: &PolicyText,
    model: &Authorization,
    report: &mut Diagnostics,
) {
    if let Some(on_error) = &text.on_error
        && text.from.is_none()
        && text.sound
    {
        let problem = entry.at(on_error.span).warning("`on_error` does nothing");
        report.push(problem.help("it is about `from`, which this policy does not have"));
    }
    if let Some(flag) = &text.enforce_existing
        && model.enforce_existing
        && model.mode == Mode::Audit
    {
        let problem = entry
            .at(flag.span)
            .warning("`enforce_existing` does nothing");
        report.push(problem.help("`mode = \"audit\"` refuses and ends nothing"));
    }
}
