//! The tables of all files, by name.

use super::super::endpoint::{LocalityText, SharedEndpoint};
use super::super::fragment::Fragment;
use super::super::parse::Parsed;
use super::super::read::{At, Named};
use super::super::schema::{
    CaptureText, DocumentText, LimitsText, MeshText, NodeText, ServiceText, WaypointText,
};
use super::super::span::Span;
use super::{Diagnostics, Spot};
use crate::model::Name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;

/// An entry of one of the tables, and where it comes from.
pub struct Entry<'a, T> {
    pub fragment: &'a Arc<Fragment>,
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
        Spot::new(self.fragment, span)
    }
}

/// A table that stands in one file only.
pub type Single<'a, T> = Option<(&'a Arc<Fragment>, &'a T)>;

/// Entries by name.
pub type NamedTable<'a, T> = BTreeMap<&'a str, Entry<'a, T>>;

#[derive(Default)]
pub struct Merged<'a> {
    pub node: Single<'a, NodeText>,
    pub mesh: Single<'a, MeshText>,
    pub capture: Single<'a, CaptureText>,
    pub limits: Single<'a, LimitsText>,
    pub localities: NamedTable<'a, LocalityText>,
    pub waypoints: NamedTable<'a, WaypointText>,
    pub services: NamedTable<'a, ServiceText>,
    pub endpoints: NamedTable<'a, SharedEndpoint>,
}

pub fn merge<'a>(files: &'a [Arc<Parsed>], report: &mut Diagnostics) -> Merged<'a> {
    let mut merged = Merged::default();
    for file in files {
        let from = &file.fragment;
        let Some(text) = &file.text else { continue };
        let DocumentText {
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
            "limits",
            &mut merged.limits,
            from,
            limits,
            |t| t.span,
            report,
        );
        named("locality", &mut merged.localities, from, localities, report);
        named("waypoint", &mut merged.waypoints, from, waypoints, report);
        named("service", &mut merged.services, from, services, report);
        named("endpoint", &mut merged.endpoints, from, endpoints, report);
    }
    merged
}

fn single<'a, T>(
    table: &str,
    merged: &mut Single<'a, T>,
    fragment: &'a Arc<Fragment>,
    text: &'a Option<T>,
    span: impl Fn(&T) -> Span,
    report: &mut Diagnostics,
) {
    let Some(text) = text else { return };
    match merged {
        None => *merged = Some((fragment, text)),
        Some((first, earlier)) => {
            let first = Spot::new(first, span(earlier)).place();
            let message = format!("`[{table}]` stands in two files");
            report.push(
                Spot::new(fragment, span(text))
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
    fragment: &'a Arc<Fragment>,
    table: &'a Option<Named<T>>,
    report: &mut Diagnostics,
) {
    for (name, text) in table.iter().flat_map(|table| &table.entries) {
        let entry = Entry {
            fragment,
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
