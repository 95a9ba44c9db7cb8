//! Groups, of which one may have others.

use super::super::super::policy::GroupText;
use super::super::super::read::At;
use super::super::super::scalar::SourceText;
use super::super::super::source::SourceRef;
use super::super::Diagnostics;
use super::super::merge::Entry;
use super::sources::Sources;
use std::collections::BTreeSet;

/// So many names of a circle are told.
const TOLD: usize = 8;

/// A group that others wait for.
struct Open<'a> {
    entry: &'a Entry<'a, GroupText>,
    items: &'a [At<SourceText>],
    /// Where it was left.
    next: usize,
}

/// Resolves every group, those that one has before it. A stack of its own, because groups may have one another
/// to any depth.
pub fn resolve<'a>(sources: &mut Sources<'a>, report: &mut Diagnostics) {
    let groups = &sources.merged.groups;
    let mut open: Vec<Open<'a>> = Vec::new();
    let mut is_open = BTreeSet::new();
    for start in groups.keys() {
        let mut enter = Some(*start);
        loop {
            if let Some(name) = enter.take()
                && !sources.groups.contains_key(name)
                && let Some(entry) = groups.get(name)
            {
                let from = entry.text.and_then(|text| text.from.0.as_ref());
                let items = from.map_or(&[][..], |from| &from.items);
                is_open.insert(name);
                open.push(Open {
                    entry,
                    items,
                    next: 0,
                });
            }
            let Some(last) = open.last_mut() else { break };
            let mut items = last.items[last.next..].iter();
            let other = items.find_map(|item| {
                last.next += 1;
                match &item.value.0 {
                    SourceRef::Group(name) => Some((item, name.as_str())),
                    _ => None,
                }
            });
            match other {
                Some((item, name)) if is_open.contains(name) => circle(&open, item, name, report),
                Some((_, name)) => enter = Some(name),
                None => {
                    let name = last.entry.name.value.as_str();
                    let entry = last.entry;
                    open.pop();
                    is_open.remove(name);
                    sources.add_group(entry, report);
                }
            }
        }
    }
}

/// The last of `open` has `name`, which waits for it.
fn circle(open: &[Open<'_>], item: &At<SourceText>, name: &str, report: &mut Diagnostics) {
    let Some(last) = open.last() else { return };
    let named = |it: &Open<'_>| it.entry.name.value.as_str() == name;
    let start = open.iter().position(named).unwrap_or_default();
    let circle = &open[start..];
    let problem = last
        .entry
        .at(item.span)
        .error(format!("the group `{name}` contains itself"));
    if circle.len() == 1 {
        report.push(problem.help("remove it here"));
        return;
    }
    let names = circle.iter().take(TOLD);
    let mut names: Vec<_> = names
        .map(|it| format!("`{}`", it.entry.name.value))
        .collect();
    if circle.len() > TOLD {
        names.push(format!("{} others", circle.len() - TOLD));
    }
    names.push(format!("`{name}`"));
    let names = names
        .join(", which has ")
        .replacen(", which has ", " has ", 1);
    let mut problem = problem.help(format!("{names}: take one of them out of another"));
    for other in circle
        .iter()
        .take(TOLD)
        .filter(|it| !std::ptr::eq(*it, last))
    {
        let through = other.next.checked_sub(1);
        if let Some(item) = through.and_then(|at| other.items.get(at)) {
            let place = other.entry.at(item.span).place();
            problem = problem.related(place, "through this");
        }
    }
    report.push(problem);
}
