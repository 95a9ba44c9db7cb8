//! From the text types of all files to the model.
//!
//! Goes on after every problem; what comes out is only used if there was no error. What a broken
//! value would have said is unknown, so nothing is concluded from its absence.

mod address;
mod backend;
mod capture;
mod check;
mod endpoint;
mod hidden;
mod merge;
mod nearness;
mod own_port;
mod place;
mod room;
mod service;
mod settings;
mod udp;
mod unit;
mod waypoint;

use super::Host;
use super::fragment::{Fragment, Origin};
use super::location::Location;
use super::parse::Parsed;
use super::problem::{Problem, Severity};
use super::scalar::unresolved;
use super::span::Span;
use super::suggest::{did_you_mean, quote};
use crate::model::Mesh;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lowers what was parsed. The mesh is valid if there is no error among the problems. `whole` is
/// false if a file or a part of one could not be parsed: then a name that is not defined may still
/// be.
pub fn lower(files: &[Arc<Parsed>], host: &Host, whole: bool) -> (Mesh, Vec<Problem>) {
    // An unknown key at the top may be a table that others refer to, misspelled.
    let sound = |file: &Arc<Parsed>| file.text.as_ref().is_some_and(|text| text.sound);
    let mut report = Diagnostics {
        problems: Vec::new(),
        whole: whole && files.iter().all(sound),
        order: files
            .iter()
            .map(|file| file.fragment.origin().clone())
            .collect(),
    };
    let merged = merge::merge(files, &mut report);
    let mut places = place::PlaceTable::new(&merged);
    let node = settings::node(&merged, host, &mut places, &mut report);
    let vip_ranges = settings::vip_ranges(&merged, &mut report);
    let waypoints = waypoint::lower(&merged, host, &vip_ranges, &mut report);
    let shared = endpoint::shared(&merged, &mut places, &waypoints, &mut report);
    let services = service::lower(
        &service::Context {
            merged: &merged,
            host,
            node: &node,
            vip_ranges: &vip_ranges,
            waypoints: &waypoints,
            shared: &shared,
        },
        &mut places,
        &mut report,
    );
    let backends = backend::lower(&services, &shared, &mut report);
    check::check(
        &check::Everything {
            host,
            vip_ranges: &vip_ranges,
            waypoints: &waypoints,
            shared: &shared,
            services: &services,
            backends: &backends,
        },
        &mut report,
    );
    let mesh = Mesh {
        node,
        vip_ranges,
        allow_empty: settings::allow_empty(&merged),
        capture: capture::lower(&merged, host, &mut report),
        limits: settings::limits(&merged),
        waypoints: waypoint::into_model(waypoints),
        services: service::into_model(services),
        backends: backends.into(),
    };
    // What is not understood might be what makes it fit.
    let clean = |problems: &[Problem]| problems.iter().all(|it| it.severity != Severity::Error);
    if report.whole && clean(&report.problems) && files.iter().all(|file| clean(&file.problems)) {
        room::check(&merged, &mesh, &mut report);
    }
    (mesh, report.problems)
}

/// Where lowering says what it finds.
struct Diagnostics {
    problems: Vec<Problem>,
    whole: bool,
    /// Where the fragments come from, in their order.
    order: Vec<Origin>,
}

impl Diagnostics {
    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether the operator reads `a` before `b`.
    fn is_before(&self, a: Spot<'_>, b: Spot<'_>) -> bool {
        let position = |spot: Spot<'_>| {
            let origin = spot.fragment.origin();
            (self.order.iter().position(|it| it == origin), spot.span)
        };
        position(a) < position(b)
    }

    /// A reference to a name that no entry of `table` has.
    fn unknown<T>(
        &mut self,
        spot: Spot<'_>,
        what: &str,
        table: &str,
        name: &str,
        known: &BTreeMap<&str, T>,
    ) {
        if !self.whole {
            return;
        }
        // Endpoints have short forms, and a DNS name reads like the name of an entry.
        let dns = || unresolved(name).filter(|_| table == "endpoints");
        let help = did_you_mean(name, known.keys().copied())
            .or_else(dns)
            .unwrap_or_else(|| format!("define it under `[{table}]`"));
        let problem = spot.error(format!("unknown {what} {}", quote(name)));
        self.push(
            problem
                .expected(format!("a name from `[{table}]`"))
                .help(help),
        );
    }
}

/// A place that costs nothing until there is a problem.
#[derive(Clone, Copy)]
struct Spot<'a> {
    fragment: &'a Arc<Fragment>,
    span: Span,
}

impl<'a> Spot<'a> {
    fn new(fragment: &'a Arc<Fragment>, span: Span) -> Self {
        Self { fragment, span }
    }

    fn error(self, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Error, self.place(), message)
    }

    fn warning(self, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Warning, self.place(), message)
    }

    fn note(self, message: impl Into<String>) -> Problem {
        Problem::new(Severity::Note, self.place(), message)
    }

    fn place(self) -> Location {
        Location::new(self.fragment, self.span)
    }
}
