//! The tables of all files, by name.

use super::super::endpoint::{LocalityText, SharedEndpoint};
use super::super::health::HealthText;
use super::super::piece::{Anchor, Piece, Pieces};
use super::super::policy::{GroupText, PolicyText};
use super::super::problem::Problem;
use super::super::read::{At, Named};
use super::super::schema::{
    AccessLogText, AccountingText, CaptureText, DnsText, DocumentText, LimitsText, MeshText,
    MetricsText, NodeText, ServiceText, WaypointText,
};
use super::super::span::Span;
use super::{Diagnostics, Lowered, Spot, is_clean};
use crate::model::Name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

/// An entry of one of the tables, and where it comes from.
pub struct Entry<'a, T> {
    pub anchor: Anchor<'a>,
    pub name: &'a At<Name>,
    /// None if it could not be read.
    pub text: Option<&'a T>,
}

impl<'a, T> Entry<'a, T> {
    /// Where the name is.
    pub fn spot(&self) -> Spot<'a> {
        self.at(self.name.span)
    }

    pub fn at(&self, span: Span) -> Spot<'a> {
        Spot::new(self.anchor, span)
    }
}

/// A service, whose text may have been forgotten.
#[derive(Clone, Copy)]
pub struct ServiceEntry<'a> {
    pub piece: &'a Piece,
    pub name: &'a At<Name>,
    /// Its place among the services of the piece.
    place: usize,
}

impl<'a> ServiceEntry<'a> {
    pub fn anchor(&self) -> Anchor<'a> {
        self.piece.anchor()
    }

    pub fn spot(&self) -> Spot<'a> {
        self.at(self.name.span)
    }

    pub fn at(&self, span: Span) -> Spot<'a> {
        Spot::new(self.anchor(), span)
    }

    /// None if it could not be read.
    pub fn text(&self) -> Option<&'a ServiceText> {
        let text = self.piece.parsed().text.as_ref()?;
        let (_, text) = text.services.as_ref()?.entries.get(self.place)?;
        text.as_ref()
    }

    /// Remembers what it means, if its piece says nothing else, and nothing that was found concerns another. An
    /// error may.
    pub fn remember(&self, lowered: Lowered) {
        let piece = self.piece;
        if piece.service().is_some()
            && is_clean(&lowered.problems)
            && piece.holds_problems(&lowered)
        {
            *piece.lowered.borrow_mut() = Some(lowered);
        }
    }
}

/// A table that stands in one file only.
pub type Single<'a, T> = Option<(Anchor<'a>, &'a T)>;

/// Entries by name.
pub type NamedTable<'a, T> = BTreeMap<&'a str, Entry<'a, T>>;

#[derive(Default)]
pub struct Merged<'a> {
    pub node: Single<'a, NodeText>,
    pub mesh: Single<'a, MeshText>,
    pub capture: Single<'a, CaptureText>,
    pub accounting: Single<'a, AccountingText>,
    pub metrics: Single<'a, MetricsText>,
    pub access_log: Single<'a, AccessLogText>,
    pub health: Single<'a, HealthText>,
    pub dns: Single<'a, DnsText>,
    pub limits: Single<'a, LimitsText>,
    pub localities: NamedTable<'a, LocalityText>,
    pub waypoints: NamedTable<'a, WaypointText>,
    pub services: BTreeMap<&'a str, ServiceEntry<'a>>,
    pub policies: NamedTable<'a, PolicyText>,
    pub groups: NamedTable<'a, GroupText>,
    pub endpoints: NamedTable<'a, SharedEndpoint>,
}

pub fn merge<'a>(files: &'a [Pieces], report: &mut Diagnostics) -> Merged<'a> {
    let mut merged = Merged::default();
    for piece in files.iter().flat_map(|file| &file.list) {
        match piece.service() {
            Some(name) => service(&mut merged, piece, name, 0, report),
            None => tables(&mut merged, piece, report),
        }
    }
    merged
}

/// What a piece says that is more than a service.
fn tables<'a>(merged: &mut Merged<'a>, piece: &'a Piece, report: &mut Diagnostics) {
    let from = piece.anchor();
    let Some(text) = &piece.parsed().text else {
        return;
    };
    let DocumentText {
        span: _,
        sound: _,
        node,
        mesh,
        capture,
        accounting,
        metrics,
        access_log,
        health,
        dns,
        limits,
        localities,
        waypoints,
        services,
        policies,
        groups,
        endpoints,
    } = text;
    single("node", &mut merged.node, from, node, |t| t.span, report);
    single("mesh", &mut merged.mesh, from, mesh, |t| t.span, report);
    single(
        "capture",
        &mut merged.capture,
        from,
        capture,
        |t| t.span,
        report,
    );
    single(
        "accounting",
        &mut merged.accounting,
        from,
        accounting,
        |t| t.span,
        report,
    );
    single(
        "metrics",
        &mut merged.metrics,
        from,
        metrics,
        |t| t.span,
        report,
    );
    single(
        "access_log",
        &mut merged.access_log,
        from,
        access_log,
        |t| t.span,
        report,
    );
    single(
        "health",
        &mut merged.health,
        from,
        health,
        |t| t.span,
        report,
    );
    single("dns", &mut merged.dns, from, dns, |t| t.span, report);
    single(
        "limits",
        &mut merged.limits,
        from,
        limits,
        |t| t.span,
        report,
    );
    named("locality", &mut merged.localities, from, localities, report);
    named("waypoint", &mut merged.waypoints, from, waypoints, report);
    let services = services.iter().flat_map(|table| &table.entries);
    for (place, (name, _)) in services.enumerate() {
        service(merged, piece, name, place, report);
    }
    named("policy", &mut merged.policies, from, policies, report);
    named("group", &mut merged.groups, from, groups, report);
    named("endpoint", &mut merged.endpoints, from, endpoints, report);
}

fn single<'a, T>(
    table: &str,
    merged: &mut Single<'a, T>,
    anchor: Anchor<'a>,
    text: &'a Option<T>,
    span: impl Fn(&T) -> Span,
    report: &mut Diagnostics,
) {
    let Some(text) = text else { return };
    match merged {
        None => *merged = Some((anchor, text)),
        Some((first, earlier)) => {
            let first = Spot::new(*first, span(earlier)).place();
            let message = format!("`[{table}]` stands in two files");
            report.push(
                Spot::new(anchor, span(text))
                    .error(message)
                    .related(first, "first here")
                    .help(format!("keep `[{table}]` in one file")),
            );
        }
    }
}

fn named<'a, T>(
    what: &str,
    merged: &mut NamedTable<'a, T>,
    anchor: Anchor<'a>,
    table: &'a Option<Named<T>>,
    report: &mut Diagnostics,
) {
    for (name, text) in table.iter().flat_map(|table| &table.entries) {
        let entry = Entry {
            anchor,
            name,
            text: text.as_ref(),
        };
        match merged.entry(name.value.as_str()) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(entry);
            }
            MapEntry::Occupied(first) => {
                let first = first.get().spot();
                report.push(twice(what, &name.value, first, entry.spot()));
            }
        }
    }
}

fn service<'a>(
    merged: &mut Merged<'a>,
    piece: &'a Piece,
    name: &'a At<Name>,
    place: usize,
    report: &mut Diagnostics,
) {
    let entry = ServiceEntry { piece, name, place };
    match merged.services.entry(name.value.as_str()) {
        MapEntry::Vacant(vacant) => {
            vacant.insert(entry);
        }
        MapEntry::Occupied(first) => {
            let first = first.get().spot();
            report.push(twice("service", &name.value, first, entry.spot()));
        }
    }
}

fn twice(what: &str, name: &Name, first: Spot<'_>, second: Spot<'_>) -> Problem {
    let message = format!("the {what} `{name}` is defined twice");
    let problem = second.error(message);
    problem
        .related(first.place(), "first defined here")
        .help("rename one, or remove one")
}
