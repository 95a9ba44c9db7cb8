//! What one policy allows and another denies.
//!
//! Whoever denies wins, so an allowed network that lies in a denied one is allowed in vain. The other way round is an exception, and
//! nothing to complain about.

mod in_vain;

use super::super::super::span::Span;
use super::super::super::suggest::quote;
use super::super::Diagnostics;
use super::LoweredPolicy;
use super::sources::Sources;
use crate::model::{Action, LocalPorts, Mode, Name, Principal, Source};
use imbl::OrdSet;
use in_vain::InVain;
use std::collections::BTreeSet;

/// So many comparisons are made for these warnings, whatever the file is like.
const MOST: usize = 20_000_000;

/// Warns of what is allowed in vain.
pub fn check(policies: &[LoweredPolicy<'_>], sources: &Sources<'_>, report: &mut Diagnostics) {
    let mut left = MOST;
    let does = |action: Action| move |it: &&LoweredPolicy<'_>| it.model.action == action;
    for deny in policies.iter().filter(does(Action::Deny)) {
        for allow in policies.iter().filter(does(Action::Allow)) {
            if deny.model.mode == Mode::Audit && allow.model.mode == Mode::Enforce {
                continue;
            }
            let pair = Pair {
                allow,
                deny,
                sources,
            };
            pair.check(&mut left, report);
            if left == 0 {
                return;
            }
        }
    }
}

/// A policy that allows and one that denies.
struct Pair<'a, 's> {
    allow: &'a LoweredPolicy<'a>,
    deny: &'a LoweredPolicy<'a>,
    sources: &'a Sources<'s>,
}

impl Pair<'_, '_> {
    fn check(&self, left: &mut usize, report: &mut Diagnostics) {
        let (allow, deny) = (&self.allow.model, &self.deny.model);
        let services = allow.services.len().min(deny.services.len());
        let ports = allow.ports.len() * deny.ports.len();
        spend(left, 1 + services + ports);
        let service = common(&allow.services, &deny.services);
        let at = match service {
            Some(name) => Some(format!("the service `{name}`")),
            None => overlapping(&allow.ports, &deny.ports).map(|it| format!("port {it}")),
        };
        let (Some(at), true) = (at, self.deny.has_all_clients && self.deny.has_all_sources) else {
            return;
        };
        if let (Some(allowed), Some(denied), true) =
            (&allow.clients, &deny.clients, service.is_some())
        {
            spend(left, allowed.len() + denied.len());
            if let Some(found) = in_vain::clients(allowed, denied) {
                self.warn_of_clients(&found, &at, report);
            }
        }
        if let (Some(allowed), Some(denied)) = (&allow.from, &deny.from) {
            spend(left, cost(allowed, denied));
            if *left > 0
                && let Some(found) = in_vain::sources(allowed, denied)
            {
                self.warn_of_sources(&found, &at, report);
            }
        }
    }

    fn warn_of_clients(&self, found: &InVain<&Principal>, at: &str, report: &mut Diagnostics) {
        let place = |policy: &LoweredPolicy<'_>, wanted: &Principal| {
            let list = policy.text.clients.as_ref()?;
            let item = list.items.iter().find(|it| it.value.0 == *wanted)?;
            Some(item.span)
        };
        let (allowed, denied) = found.first;
        let places = (place(self.allow, allowed), place(self.deny, denied));
        let list = self.allow.text.clients.as_ref().map(|list| list.span);
        let all = found.all && self.allow.has_all_clients;
        let allowed = (allowed.to_string(), found.count, all);
        self.warn(allowed, places, list, at, report);
    }

    fn warn_of_sources(&self, found: &InVain<&Source>, at: &str, report: &mut Diagnostics) {
        let place = |policy: &LoweredPolicy<'_>, wanted: &Source| {
            let list = policy.text.from.as_ref()?;
            self.sources.place(list, wanted)
        };
        let (allowed, denied) = found.first;
        let places = (place(self.allow, allowed), place(self.deny, denied));
        let list = self.allow.text.from.as_ref().map(|list| list.span);
        let all = found.all && self.allow.has_all_sources;
        let allowed = (allowed.to_string(), found.count, all);
        self.warn(allowed, places, list, at, report);
    }

    fn warn(
        &self,
        (allowed, count, all): (String, usize, bool),
        (place, denied): (Option<Span>, Option<Span>),
        list: Option<Span>,
        at: &str,
        report: &mut Diagnostics,
    ) {
        let (allow, deny) = (self.allow.entry, self.deny.entry);
        let name = &deny.name.value;
        let message = match (all, count) {
            (true, _) => format!(
                "nobody connects to {at} by this policy: the policy `{name}` denies all whom it allows"
            ),
            (false, 1) => format!("{} is allowed in vain at {at}", quote(&allowed)),
            (false, _) => format!(
                "{} and {} more are allowed in vain at {at}",
                quote(&allowed),
                count - 1
            ),
        };
        let place = if all { list } else { place };
        let spot = allow.at(place.unwrap_or(allow.name.span));
        let denied = deny.at(denied.unwrap_or(deny.name.span)).place();
        let problem = spot.warning(message);
        report.push(
            problem
                .related(denied, format!("the policy `{name}` denies it here"))
                .help("what denies wins: take it out of one of the two"),
        );
    }
}

fn spend(left: &mut usize, steps: usize) {
    *left = left.saturating_sub(steps);
}

fn common<'a>(a: &'a BTreeSet<Name>, b: &'a BTreeSet<Name>) -> Option<&'a Name> {
    a.intersection(b).next()
}

/// Ports that are of both.
fn overlapping(a: &BTreeSet<LocalPorts>, b: &BTreeSet<LocalPorts>) -> Option<LocalPorts> {
    let both = |a: &LocalPorts, b: &LocalPorts| {
        let ends = |it: &LocalPorts| it.range.unwrap_or((0, u16::MAX));
        let ((a_first, a_last), (b_first, b_last)) = (ends(a), ends(b));
        let anywhere = a.address.is_none() || b.address.is_none();
        let range = (a_first.max(b_first), a_last.min(b_last));
        let meet =
            a.protocol == b.protocol && (anywhere || a.address == b.address) && range.0 <= range.1;
        meet.then_some(LocalPorts {
            address: a.address.or(b.address),
            protocol: a.protocol,
            range: (range != (0, u16::MAX)).then_some(range),
        })
    };
    a.iter().find_map(|a| b.iter().find_map(|b| both(a, b)))
}

fn cost(allowed: &OrdSet<Source>, denied: &OrdSet<Source>) -> usize {
    match allowed.ptr_eq(denied) {
        true => 1,
        false => allowed.len() + denied.len(),
    }
}
