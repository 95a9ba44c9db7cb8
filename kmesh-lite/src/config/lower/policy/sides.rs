//! Policies that are about nothing or nobody.

use super::super::super::policy::PolicyText;
use super::super::super::read::List;
use super::super::Diagnostics;
use super::super::merge::Entry;
use super::sources::{Matched, Sources};
use crate::model::{Action, Authorization, Mode};

/// A policy is about something and somebody, and each side has both.
pub fn check(entry: &Entry<'_, PolicyText>, text: &PolicyText, report: &mut Diagnostics) {
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
pub fn warn_of_nobody(
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
pub fn warn_of_no_effect(
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
