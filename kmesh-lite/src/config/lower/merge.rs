//! The tables of all files, by name.

use super::super::endpoint::{LocalityText, SharedEndpoint};
use super::super::parse::Parsed;
use super::super::read::{At, Named};
use super::super::schema::{
    CaptureText, FileText, LimitsText, MeshText, NodeText, ServiceText, WaypointText,
};
use super::super::source::{Source, Span};
use super::{Report, Spot};
use crate::model::Name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;

/// An entry of one of the tables, and where it comes from.
pub struct Entry<'a, T> {
    pub source: &'a Arc<Source>,
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
        Spot::new(self.source, span)
    }
}

/// A table that stands in one file only.
pub type Single<'a, T> = Option<(&'a Arc<Source>, &'a T)>;

/// Entries by name.
pub type Table<'a, T> = BTreeMap<&'a str, Entry<'a, T>>;

#[derive(Default)]
pub struct Merged<'a> {
    pub node: Single<'a, NodeText>,
    pub mesh: Single<'a, MeshText>,
    pub capture: Single<'a, CaptureText>,
    pub limits: Single<'a, LimitsText>,
    pub localities: Table<'a, LocalityText>,
    pub waypoints: Table<'a, WaypointText>,
    pub services: Table<'a, ServiceText>,
    pub endpoints: Table<'a, SharedEndpoint>,
}

pub fn merge<'a>(files: &'a [Arc<Parsed>], report: &mut Report) -> Merged<'a> {
    let mut merged = Merged::default();
    for file in files {
        let source = &file.source;
        let Some(text) = &file.text else { continue };
        let FileText {
            span: _,
            sound: _,
            node,
            mesh,
            capture,
            limits,
            localities,
            waypoints,
            services,
            endpoints,
        } = text;
        single("node", &mut merged.node, source, node, |t| t.span, report);
        single("mesh", &mut merged.mesh, source, mesh, |t| t.span, report);
        single(
            "capture",
            &mut merged.capture,
            source,
            capture,
            |t| t.span,
            report,
        );
        single(
            "limits",
            &mut merged.limits,
            source,
            limits,
            |t| t.span,
            report,
        );
        named(
            "locality",
            &mut merged.localities,
            source,
            localities,
            report,
        );
        named("waypoint", &mut merged.waypoints, source, waypoints, report);
        named("service", &mut merged.services, source, services, report);
        named("endpoint", &mut merged.endpoints, source, endpoints, report);
    }
    merged
}

fn single<'a, T>(
    table: &str,
    merged: &mut Single<'a, T>,
    source: &'a Arc<Source>,
    text: &'a Option<T>,
    span: impl Fn(&T) -> Span,
    report: &mut Report,
) {
    let Some(text) = text else { return };
    match merged {
        None => *merged = Some((source, text)),
        Some((first, earlier)) => {
            let first = Spot::new(first, span(earlier)).place();
            let message = format!("`[{table}]` stands in two files");
            report.push(
                Spot::new(source, span(text))
                    .error(message)
                    .related(first, "first here")
                    .help(format!("keep `[{table}]` in one file")),
            );
        }
    }
}

fn named<'a, T>(
    what: &str,
    merged: &mut Table<'a, T>,
    source: &'a Arc<Source>,
    table: &'a Option<Named<T>>,
    report: &mut Report,
) {
    for (name, text) in table.iter().flat_map(|table| &table.entries) {
        let entry = Entry {
            source,
            name,
            text: text.as_ref(),
        };
        match merged.entry(name.value.as_str()) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(entry);
            }
            MapEntry::Occupied(first) => {
                let message = format!("the {what} `{}` is defined twice", name.value);
                let first = first.get().spot().place();
                report.push(
                    entry
                        .spot()
                        .error(message)
                        .related(first, "first defined here")
                        .help("rename one, or remove one"),
                );
            }
        }
    }
}
