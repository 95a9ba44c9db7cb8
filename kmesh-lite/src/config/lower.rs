//! From the text types of all files to the model.
//!
//! Goes on after every problem; what comes out is only used if there was no error. What a broken
//! value would have said is unknown, so nothing is concluded from its absence.

mod access_log;
mod address;
mod automatic;
mod backend;
mod capture;
mod check;
mod dns;
mod eject;
mod endpoint;
mod health;
mod hidden;
mod hostname;
mod merge;
mod metrics;
mod nearness;
mod own_port;
mod place;
mod policy;
mod room;
mod service;
mod serving;
mod settings;
mod slots;
mod surroundings;
mod udp;
mod unit;
mod waypoint;

use super::Host;
use super::fragment::Origin;
use super::location::Location;
use super::piece::{Anchor, Pieces};
use super::problem::{Problem, Severity};
use super::scalar::unresolved;
use super::span::Span;
use super::suggest::{did_you_mean, quote};
use crate::model::{Dns, Mesh, Name, Service, questions};
use backend::{AtAddresses, Backends};
use imbl::OrdMap;
use policy::KeptSources;
use service::LoweredService;
use std::collections::BTreeMap;
use std::sync::Arc;
use surroundings::Surroundings;

pub use service::Lowered;

/// Services by name.
type Services = OrdMap<Name, Arc<Service>>;

/// What is kept from one load to the next, besides what each service means.
#[derive(Debug, Default)]
pub struct Kept {
    surroundings: Surroundings,
    pub last: LastMesh,
}

/// Services, backends and addresses in policies of the last mesh that was valid. The next mesh is made by editing
/// them.
#[derive(Debug, Default)]
pub struct LastMesh {
    services: Services,
    backends: Backends,
    sources: KeptSources,
}

/// Lowers what was parsed. The mesh is valid if there is no error among the problems. `whole` is
/// false if a file or a part of one could not be parsed: then a name that is not defined may still
/// be. What each service means is remembered in its piece. Gives what to keep as well if the mesh is valid.
pub fn lower(
    files: &[Pieces],
    host: &Host,
    whole: bool,
    kept: &mut Kept,
) -> (Mesh, Vec<Problem>, LastMesh) {
    let mut report = Diagnostics {
        problems: Vec::new(),
        whole,
        order: files
            .iter()
            .map(|file| file.fragment.origin().clone())
            .collect(),
        comparisons: COMPARISONS,
    };
    let merged = merge::merge(files, &mut report);
    let mut places = place::PlaceTable::new(&merged);
    let node = settings::node(&merged, host, &mut places, &mut report);
    let vip_ranges = settings::vip_ranges(&merged, &mut report);
    let on_remove = settings::on_remove(&merged);
    let waypoints = waypoint::lower(&merged, host, &vip_ranges, &mut report);
    let health = health::defaults(&merged, &mut report);
    let shared = endpoint::shared(&merged, &mut places, &waypoints, &health, &mut report);
    let at_addresses = AtAddresses::new(&shared);
    let surroundings = Surroundings::new(
        (host, whole),
        (&node, &vip_ranges, &health, on_remove),
        &merged,
        &waypoints,
        &shared,
    );
    let changes = surroundings.changes(&kept.surroundings);
    for piece in files.iter().flat_map(|file| &file.list) {
        let mut lowered = piece.lowered.borrow_mut();
        lowered.take_if(|lowered| changes.concern(lowered));
    }
    kept.surroundings = surroundings;
    let services = service::lower(
        &merged.services,
        &service::Context {
            host,
            node: &node,
            vip_ranges: &vip_ranges,
            health: &health,
            waypoints: &waypoints,
            shared: &shared,
            at_addresses: &at_addresses,
            on_remove,
            before: &kept.last.services,
        },
        &mut places,
        &mut report,
    );
    let edited = kept.last.edited(&services, &at_addresses);
    backend::check(&services, &shared, &edited.backends, &mut report);
    let listeners = metrics::written(&merged);
    let names_at = serving::written(&merged);
    let serving = serving::lower(&merged, host, (&names_at, &listeners), &mut report);
    let is_served = serving::is_wanted(&merged, report.whole);
    hostname::check(&services, serving::domain(&merged), is_served, &mut report);
    check::check(
        &check::Everything {
            host,
            vip_ranges: &vip_ranges,
            waypoints: &waypoints,
            shared: &shared,
            services: &services,
            backends: &edited.backends.all,
            listeners: [&listeners, &names_at],
        },
        &mut report,
    );
    let accounting = settings::accounting(&merged);
    let of_services = services.iter().map(|it| (it.name(), &*it.model));
    let questions = questions(of_services, &vip_ranges);
    dns::check_number(&merged, &questions, &mut report);
    dns::check_resolvers(&merged, &services, &vip_ranges, &mut report);
    automatic::check_ranges(&merged, &services, &vip_ranges, host, &mut report);
    eject::check(&merged, &services, accounting, &mut report);
    let (policies, sources) = policy::lower(
        &merged,
        &policy::Context {
            host,
            node: &node,
            services: &edited.services,
        },
        &kept.last.sources,
        &mut report,
    );
    let mesh = Mesh {
        node,
        vip_ranges,
        allow_empty: settings::allow_empty(&merged),
        on_remove,
        accounting,
        metrics: metrics::lower(&listeners, &mut report),
        access_log: access_log::lower(&merged, accounting, &mut report),
        capture: capture::lower(&merged, host, &mut report),
        limits: settings::limits(&merged),
        waypoints: waypoint::into_model(waypoints),
        is_checked: services.iter().any(|service| service.is_checked),
        services: edited.services.clone(),
        policies,
        endpoint_names: endpoint::names(&shared),
        dns_names: endpoint::dns_names(&shared),
        dns: Dns {
            serving,
            ..dns::settings(&merged, &mut report)
        },
        questions,
        backends: edited.backends.all.clone(),
    };
    // What is not understood might be what makes it fit.
    let said = files.iter().flat_map(|file| &file.list);
    let mut said = said.filter_map(|piece| piece.kept()).map(|it| &it.problems);
    if report.whole && is_clean(&report.problems) && said.all(|it| is_clean(it)) {
        room::check(&merged, &services, &mesh, &mut report);
    }
    let last = LastMesh { sources, ..edited };
    (mesh, report.problems, last)
}

fn is_clean(problems: &[Problem]) -> bool {
    problems.iter().all(|it| it.severity != Severity::Error)
}

impl LastMesh {
    /// The first.
    fn new(services: &[LoweredService<'_>], at_addresses: &AtAddresses<'_>) -> Self {
        let endpoints = services.iter().map(|it| &*it.model.endpoints);
        let mut backends = Backends::of(endpoints);
        backends.capture(at_addresses);
        let services = services.iter();
        Self {
            services: services
                .map(|it| (it.name().clone(), Arc::clone(&it.model)))
                .collect(),
            backends,
            sources: KeptSources::default(),
        }
    }

    /// The same with the services that there are now. Both are in the order of names.
    fn edited(&self, now: &[LoweredService<'_>], at_addresses: &AtAddresses<'_>) -> Self {
        if self.services.is_empty() {
            return Self::new(now, at_addresses);
        }
        let (mut services, mut backends) = (self.services.clone(), self.backends.clone());
        let mut before = self.services.iter().peekable();
        for service in now {
            while let Some((gone, model)) = before.next_if(|(name, _)| *name < service.name()) {
                backends.replace(&model.endpoints, &[]);
                services.remove(gone);
            }
            let same_name = before.next_if(|(name, _)| *name == service.name());
            let model = same_name.map(|(_, model)| model);
            if model.is_some_and(|model| Arc::ptr_eq(model, &service.model)) {
                continue;
            }
            let endpoints = model.map_or(&[][..], |model| &model.endpoints);
            backends.replace(endpoints, &service.model.endpoints);
            services.insert(service.name().clone(), Arc::clone(&service.model));
        }
        for (gone, model) in before {
            backends.replace(&model.endpoints, &[]);
            services.remove(gone);
        }
        backends.capture(at_addresses);
        Self {
            services,
            backends,
            sources: KeptSources::default(),
        }
    }
}

/// Where lowering says what it finds.
struct Diagnostics {
    problems: Vec<Problem>,
    whole: bool,
    /// Where the fragments come from, in their order.
    order: Vec<Origin>,
    /// So many names may still be compared with one that is not known: a hundred thousand slips are no reason to look for
    /// hours.
    comparisons: usize,
}

const COMPARISONS: usize = 1_000_000;

impl Diagnostics {
    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether the operator reads `a` before `b`.
    fn is_before(&self, a: Spot<'_>, b: Spot<'_>) -> bool {
        let position = |spot: Spot<'_>| {
            let place = spot.place();
            let mut order = self.order.iter();
            (order.position(|it| it == place.origin()), place.span)
        };
        position(a) < position(b)
    }

    /// Help that names what was probably meant instead of a name that is not known.
    fn near<'a>(
        &mut self,
        name: &str,
        known: impl ExactSizeIterator<Item = &'a str> + Clone,
    ) -> Option<String> {
        let left = self.comparisons.checked_sub(known.len());
        self.comparisons = left.unwrap_or_default();
        left.and_then(|_| did_you_mean(name, known))
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
        let help = self
            .near(name, known.keys().copied())
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
    anchor: Anchor<'a>,
    span: Span,
}

impl<'a> Spot<'a> {
    fn new(anchor: Anchor<'a>, span: Span) -> Self {
        Self { anchor, span }
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
        self.anchor.place(self.span)
    }
}
