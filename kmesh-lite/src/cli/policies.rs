//! `policies`: who may reach what?

mod suggest;

use super::ask::{ask, failed};
use super::connections::or_dash;
use super::output::{BOLD, ERROR, FAINT, GOOD, Output, WARN};
use super::table::Table;
use super::{Exit, VerbResult, args};
use crate::api::{AboutPolicy, Policies, Reach};
use crate::host::Cgroups;
use crate::model::{Facts, Mode};
use crate::report::{self, FEW, count};
use anstream::adapter::strip_str;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{IsTerminal, stdout};

/// Columns where there is no terminal.
const WIDTH: usize = 100;

pub fn run(args: args::Policies, output: &mut Output) -> VerbResult {
    if let Some(args::PoliciesVerb::Suggest(args)) = args.verb {
        return suggest::run(args, output);
    }
    let name = args.name.as_deref();
    let query: Vec<_> = name.iter().map(|name| ("name", *name)).collect();
    let policies: Policies = ask(
        args.socket.path,
        |daemon| daemon.get("policies", &query),
        |kernel, _| {
            let snapshot = kernel.snapshot().map_err(failed)?;
            let facts = Facts::default();
            let ids = report::cgroups_of_clients(&snapshot, &facts).into_iter();
            let lineages = Cgroups::find().map_err(failed)?.lineages(ids);
            report::policies(&snapshot, None, &facts, &lineages, name)
        },
    )?;
    if args.format.json {
        output.json(&policies)?;
    } else {
        output.text(&text(&policies, name.is_some(), width()))?;
    }
    Ok(Exit::Fine)
}

fn width() -> usize {
    let size = ratatui::crossterm::terminal::size().ok();
    let size = size.filter(|_| stdout().is_terminal());
    size.map_or(WIDTH, |(columns, _)| usize::from(columns))
}

/// Writing to a String cannot fail, so no outcome is looked at.
fn text(policies: &Policies, is_one: bool, width: usize) -> String {
    let mut text = String::new();
    match &*policies.policies {
        [] => text += &format!("{BOLD}there is no policy: whoever can, connects{BOLD:#}\n"),
        [one] if is_one => about(&mut text, one),
        all => {
            let _ = writeln!(text, "{BOLD}{}{BOLD:#}\n", policies_of(all.len()));
            let mut table = Table::new(&["policy", "action", "about", "matches", ">refused", ""]);
            for policy in all {
                table.row(line(policy));
            }
            table.write(&mut text);
        }
    }
    pairs(&mut text, "who may connect", &policies.outbound, width);
    pairs(&mut text, "what may arrive", &policies.inbound, width);
    if policies.left_out > 0 {
        let _ = writeln!(
            text,
            "\n  {WARN}and {} more pairs, which are not listed{WARN:#}",
            policies.left_out
        );
    }
    if !policies.open.is_empty() && !policies.policies.is_empty() {
        let _ = writeln!(
            text,
            "\n  {FAINT}{} without a policy about clients: {}{FAINT:#}",
            count(policies.open.len(), "service"),
            few(&policies.open)
        );
    }
    text
}

fn policies_of(count: usize) -> String {
    match count {
        1 => "1 policy".to_owned(),
        n => format!("{n} policies"),
    }
}

fn few(names: &[String]) -> String {
    let more = names.len().saturating_sub(FEW);
    let first = names[..names.len() - more].join(", ");
    match more {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn mode(policy: &AboutPolicy) -> String {
    match policy.mode == Mode::Audit.as_str() {
        true => format!("{WARN}in audit mode: it would have refused these{WARN:#}"),
        false => String::new(),
    }
}

fn line(policy: &AboutPolicy) -> [String; 6] {
    [
        policy.name.clone(),
        policy.action.clone(),
        short(&targets(policy)),
        short(&matches(policy)),
        policy.refused.to_string(),
        mode(policy),
    ]
}

fn targets(policy: &AboutPolicy) -> Vec<String> {
    let ports = policy.ports.iter().map(|port| format!("port {port}"));
    policy.services.iter().cloned().chain(ports).collect()
}

fn matches(policy: &AboutPolicy) -> Vec<String> {
    let clients = policy.clients.iter().flatten().map(|it| it.name.clone());
    let sources = policy.from.iter().flatten();
    clients
        .chain(sources.map(|it| format!("from {}", it.name)))
        .collect()
}

/// The first two of several.
fn short(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        [first, second, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second} and {} more", rest.len())
        }
        names => names.join(", "),
    }
}

/// All that there is to say of one policy.
fn about(text: &mut String, policy: &AboutPolicy) {
    let audits = policy.mode == Mode::Audit.as_str();
    let _ = writeln!(
        text,
        "{BOLD}policy {}: {}{}{BOLD:#}",
        policy.name,
        policy.action,
        if audits { ", in audit mode" } else { "" }
    );
    let _ = writeln!(
        text,
        "  it {} {}",
        if audits {
            "would have refused"
        } else {
            "refused"
        },
        count(policy.refused as usize, "connection")
    );
    let targets = targets(policy);
    if !targets.is_empty() {
        let _ = writeln!(text, "  about {}", targets.join(", "));
    }
    if let Some(on_error) = &policy.on_error {
        let _ = writeln!(text, "  on error: {on_error}");
    }
    if policy.enforce_existing {
        let _ = writeln!(text, "  it also ends connections that stand");
    }
    if policy.force {
        let _ = writeln!(text, "  it counts even if it cuts off the operator");
    }
    let mut table = Table::new(&["matches", "which is now"]);
    let mut is_empty = true;
    for client in policy.clients.iter().flatten() {
        let now = match (&*client.cgroups, client.number) {
            ([], Some(number)) => format!("number {number}"),
            ([], None) if client.name == "*" => "every program".to_owned(),
            ([], None) => format!("{WARN}nobody{WARN:#}"),
            (cgroups, _) => few(cgroups),
        };
        table.row([client.name.clone(), now]);
        is_empty = false;
    }
    for source in policy.from.iter().flatten() {
        let mut now = few(&source.networks);
        if source.left_out > 0 {
            let _ = write!(now, " and {} more", source.left_out);
        }
        let mut kinds = ["service:", "locality:"].iter();
        if now.is_empty() && kinds.any(|kind| source.name.starts_with(kind)) {
            now = format!("{WARN}nobody{WARN:#}");
        }
        table.row([format!("from {}", source.name), now]);
        is_empty = false;
    }
    text.push('\n');
    match is_empty {
        true => *text += "  it matches nobody\n",
        false => table.write(text),
    }
}

/// Pairs as a table of who by what, if it is no wider than that; otherwise as a list.
fn pairs(text: &mut String, title: &str, pairs: &[Reach], width: usize) {
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    match matrix(pairs).filter(|table| table.width() <= width) {
        Some(table) => table.write(text),
        None => list(pairs).write(text),
    }
}

/// None where pairs are missing.
fn matrix(pairs: &[Reach]) -> Option<Table> {
    let to: BTreeSet<_> = pairs.iter().map(|it| it.to.as_str()).collect();
    let mut from: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<(&str, &str), &Reach> = BTreeMap::new();
    for pair in pairs {
        if from.last() != Some(&&*pair.from) {
            from.push(&pair.from);
        }
        cells.insert((&pair.from, &pair.to), pair);
    }
    if cells.len() != from.len() * to.len() {
        return None;
    }
    let headings: Vec<_> = [""].into_iter().chain(to.iter().copied()).collect();
    let mut table = Table::new(&headings);
    for from in from {
        let of = to.iter().map(|to| cells[&(from, *to)]);
        let first = pairs.iter().find(|it| it.from == from);
        let mut row = vec![first.map_or_else(String::new, client)];
        row.extend(of.map(|pair| strip_str(&verdict(pair)).to_string()));
        table.rows(row);
    }
    Some(table)
}

fn list(pairs: &[Reach]) -> Table {
    let mut table = Table::bare(3);
    for pair in pairs {
        table.row([client(pair), format!("-> {}", pair.to), verdict(pair)]);
    }
    table
}

fn client(pair: &Reach) -> String {
    match (&*pair.from, pair.absent) {
        ("*", _) => "anyone else".to_owned(),
        (name, true) => format!("{name} (absent)"),
        (name, false) => name.to_owned(),
    }
}

fn verdict(pair: &Reach) -> String {
    let by = or_dash(pair.policy.as_deref());
    match (&*pair.verdict, &pair.policy) {
        ("allowed", None) => format!("{GOOD}allowed{GOOD:#}"),
        ("allowed", _) => format!("{GOOD}allowed{GOOD:#} by {by}"),
        ("denied", _) => format!("{ERROR}denied{ERROR:#} by {by}"),
        ("audited", _) => format!("{WARN}would be denied{WARN:#} by {by}"),
        _ if pair.absent => "-".to_owned(),
        _ => format!("{FAINT}not handled{FAINT:#}"),
    }
}

#[cfg(test)]
mod tests;
