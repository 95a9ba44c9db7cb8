//! Addresses that connect.

use super::super::super::policy::GroupText;
use super::super::super::read::List;
use super::super::super::scalar::{SourceText, locality};
use super::super::super::source::SourceRef;
use super::super::super::span::Span;
use super::super::super::suggest::quote;
use super::super::merge::{Entry, Merged};
use super::super::{Diagnostics, Spot};
use super::kept::{KeptSources, edited};
use super::{Context, repeated};
use crate::model::{Locality, Name, Source};
use imbl::OrdSet;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whom some items match. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    pub sources: OrdSet<Source>,
    /// Whether all of them could be understood.
    pub whole: bool,
}

/// Says whom items match.
pub struct Sources<'a> {
    pub merged: &'a Merged<'a>,
    context: &'a Context<'a>,
    /// Those that are resolved.
    pub groups: BTreeMap<&'a str, Matched>,
    before: &'a KeptSources,
    now: KeptSources,
    /// Where endpoints are, if anybody asked.
    there: OnceCell<BTreeSet<&'a Locality>>,
}

impl<'a> Sources<'a> {
    pub fn new(merged: &'a Merged<'a>, context: &'a Context<'a>, before: &'a KeptSources) -> Self {
        Self {
            merged,
            context,
            groups: BTreeMap::new(),
            before,
            now: KeptSources::default(),
            there: OnceCell::new(),
        }
    }

    /// What to keep for the next time.
    pub fn kept(self) -> KeptSources {
        self.now
    }

    /// Adds a group. All that it has are there.
    pub fn add_group(&mut self, entry: &'a Entry<'a, GroupText>, report: &mut Diagnostics) {
        let from = entry.text.and_then(|text| text.from.0.as_ref());
        let name = &entry.name.value;
        let mut matched = Matched::default();
        if let Some(written) = from {
            let own;
            let before = self.before.groups.get(name);
            let at = |span| entry.at(span);
            (own, matched) = self.matched(before, at, written, report);
            self.now.groups.insert(name.clone(), own);
        }
        self.groups.insert(name.as_str(), matched);
    }

    /// Whom a policy matches.
    pub fn of_policy<'s>(
        &mut self,
        name: &Name,
        at: impl Fn(Span) -> Spot<'s>,
        written: &List<SourceText>,
        report: &mut Diagnostics,
    ) -> Matched {
        let before = self.before.policies.get(name);
        let (own, matched) = self.matched(before, at, written, report);
        self.now.policies.insert(name.clone(), own);
        matched
    }

    /// Whether somebody is there.
    pub fn match_somebody(&self, matched: &Matched) -> bool {
        matched.sources.iter().any(|source| match source {
            Source::Network(_) => true,
            Source::Service(name) => {
                let service = self.context.services.get(name);
                service.is_none_or(|it| !it.endpoints.is_empty() || !it.named.is_empty())
            }
            Source::Locality(locality) => self.is_there(locality),
        })
    }

    /// Which item a source comes from.
    pub fn place(&self, written: &List<SourceText>, wanted: &Source) -> Option<Span> {
        let mut items = written.items.iter();
        let is_it = |item: &SourceRef| match (item, wanted) {
            (SourceRef::Network(item), Source::Network(wanted)) => item == wanted,
            (SourceRef::Service(item), Source::Service(wanted)) => item == wanted,
            (SourceRef::Locality(item), Source::Locality(wanted)) => {
                self.meant(item).as_ref() == Some(wanted)
            }
            (SourceRef::Group(item), _) => {
                let group = self.groups.get(item.as_str());
                group.is_some_and(|group| group.sources.contains(wanted))
            }
            _ => false,
        };
        items
            .find(|item| is_it(&item.value.0))
            .map(|item| item.span)
    }

    /// Items without those of groups, and with them.
    fn matched<'s>(
        &self,
        before: Option<&OrdSet<Source>>,
        at: impl Fn(Span) -> Spot<'s>,
        written: &List<SourceText>,
        report: &mut Diagnostics,
    ) -> (OrdSet<Source>, Matched) {
        let mut whole = written.whole;
        let mut networks = Vec::new();
        let mut others = Vec::new();
        let mut groups = Vec::new();
        for item in &written.items {
            let spot = at(item.span);
            match &item.value.0 {
                SourceRef::Network(network) => networks.push(*network),
                SourceRef::Service(name) => {
                    let services = &self.merged.services;
                    if services.contains_key(name.as_str()) {
                        others.push(Source::Service(name.clone()));
                    } else {
                        whole = false;
                        report.unknown(spot, "service", "services", name.as_str(), services);
                    }
                }
                SourceRef::Group(name) => match self.groups.get(name.as_str()) {
                    Some(group) => {
                        whole &= group.whole;
                        groups.push(&group.sources);
                    }
                    None => {
                        whole = false;
                        let known = &self.merged.groups;
                        // One that is there waits for this one, which has been said.
                        if !known.contains_key(name.as_str()) {
                            report.unknown(spot, "group", "groups", name.as_str(), known);
                        }
                    }
                },
                SourceRef::Locality(text) => match self.locality(spot, text, report) {
                    Some(locality) => others.push(Source::Locality(locality)),
                    None => whole = false,
                },
            }
        }
        // By themselves, because they are small: there may be a million.
        let count = networks.len() + others.len();
        networks.sort_unstable();
        networks.dedup();
        others.sort_unstable();
        others.dedup();
        let own = networks.into_iter().map(Source::Network).chain(others);
        let own: Vec<_> = own.collect();
        if own.len() < count || written.items.len() > count {
            let name = |source: &SourceRef| source.to_string();
            repeated::check(at, written, |it| &it.0, name, report);
        }
        let own = edited(before, own);
        let largest = groups.iter().map(|set| set.len()).enumerate();
        let largest = largest.max_by_key(|(_, len)| *len);
        let mut sources = own.clone();
        if let Some((largest, len)) = largest {
            let shared = groups.swap_remove(largest).clone();
            let added = match len >= own.len() {
                true => std::mem::replace(&mut sources, shared),
                false => shared,
            };
            sources.extend(added);
        }
        for others in groups {
            sources.extend(others.iter().cloned());
        }
        (own, Matched { sources, whole })
    }

    /// The locality that is meant: that of a name, or else a region.
    fn meant(&self, text: &str) -> Option<Locality> {
        match self.merged.localities.get(text) {
            // What could not be read has been said.
            Some(entry) => entry.text.map(|text| text.0.clone()),
            None => locality(text).ok(),
        }
    }

    /// The same, if it is known.
    fn locality(&self, spot: Spot<'_>, text: &str, report: &mut Diagnostics) -> Option<Locality> {
        let named = &self.merged.localities;
        let found = self.meant(text)?;
        if self.is_there(&found) {
            return Some(found);
        }
        // Endpoints that could not be read may be there.
        if !report.whole {
            return None;
        }
        let is_here = found.holds(&self.context.node.locality);
        if !text.contains('/') && !named.contains_key(text) && !is_here {
            let regions = self.there().iter().filter_map(|it| it.region.as_deref());
            let known: BTreeSet<_> = named.keys().copied().chain(regions).collect();
            let help = report.near(text, known.iter().copied());
            let problem = spot.error(format!("unknown locality {}", quote(text)));
            let problem =
                problem.expected("a name from `[localities]`, or a region that has an endpoint");
            report.push(problem.help(help.unwrap_or_else(|| {
                "define it under `[localities]`, or say by `locality` of endpoints where they are".to_owned()
            })));
            return None;
        }
        let problem = spot.warning(format!("no endpoint is in the locality `{found}`"));
        report
            .push(problem.help(
                "it matches nobody until one is; endpoints say by `locality` where they are",
            ));
        Some(found)
    }

    fn is_there(&self, locality: &Locality) -> bool {
        self.there().iter().any(|there| locality.holds(there))
    }

    /// Where endpoints are.
    fn there(&self) -> &BTreeSet<&'a Locality> {
        self.there.get_or_init(|| {
            let services = self.context.services.values();
            let endpoints = services.flat_map(|it| {
                let named = it.named.iter().map(|named| &named.like);
                it.endpoints.iter().chain(named)
            });
            let mut there = BTreeSet::new();
            let mut last = None;
            for endpoint in endpoints {
                let place = Arc::as_ptr(&endpoint.place);
                // Neighbours are often in the same place.
                if last != Some(place) {
                    there.insert(&endpoint.place.locality);
                    last = Some(place);
                }
            }
            there
        })
    }
}
