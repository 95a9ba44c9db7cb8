//! The loop: what happens on each event.

mod answer;
mod belt;
mod departures;
mod duties;
mod findings;
mod kill;
mod live;
mod names;
mod order;
mod outlawed;
mod policies;
mod queries;
mod reload;
mod roster;
mod state;
mod trial;
mod zone;

use super::DaemonError;
use super::datapath::Datapath;
use super::departures::Departures;
use super::event::{Event, Events, Found, Signal, Timer};
use super::last_answers::LastAnswers;
use super::last_findings::{LastFindings, Recalled};
use super::last_seen::LastSeen;
use super::listeners::Listeners;
use super::order_book::OrderBook;
use super::refusal::RefusalBook;
use super::source::{MeshSource, Source};
use super::split_zone::SplitZone;
use super::supervisor::{News, Supervisor};
use super::trial_book::TrialBook;
use crate::api::{Failure, FailureKind, Session};
use crate::config::Loaded;
use crate::control::{Filter, Later, Request, Trace};
use crate::host::{self, Change, Units, WatchError, monotonic};
use crate::kernel::MomentsReader;
use crate::model::{CgroupRef, Facts, Mesh, Principal, QueryCapture};
use crate::reconcile::Extent;
use crate::report::{self, Refusals, Seen};
use crate::tables::Tables;
use kmesh_lite_common::Interest;
use log::{debug, info, warn};
use policies::ServedOf;
use state::LoopState;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Everything that the loop owns.
pub struct Daemon<S, D, N> {
    meshes: MeshSource<S>,
    datapath: D,
    units: Units,
    supervisor: N,
    state: LoopState,
    last_findings: Option<LastFindings>,
    last_answers: Option<LastAnswers>,
    order_book: OrderBook,
    trial_book: TrialBook,
    refusal_book: RefusalBook,
    split_zone: SplitZone,
    /// Before the listeners, which it tells what it hears.
    moments: Option<MomentsReader>,
    listeners: Listeners,
    departures: Departures,
    /// The tables by which connections that stand were judged last, while policies end some.
    judged: Option<Tables>,
    /// Who has connected to what.
    seen: Seen,
    served: ServedOf,
    refusals: Refusals,
    last_seen: Option<LastSeen>,
    /// The SSH connections of those who have asked for a reload, as far as they stand.
    sessions: BTreeSet<Session>,
}

/// After so long a time it is forgotten that a cgroup which went was special: longer than a unit takes to be restarted.
const VACATED: Duration = Duration::from_millis(500);

/// What became of the cgroups that the mesh names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moved {
    Nothing,
    /// Some are gone that programs were in.
    Gone,
    /// Some are new, or routing ends or begins with them.
    Begun,
}

/// What made the daemon look at its file or at the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Start,
    Source,
    Cgroup,
    Fact,
    Signal,
    Request,
    Timer,
    /// Nobody confirmed what was applied.
    Unconfirmed,
}

impl Trigger {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Source => "file",
            Self::Cgroup => "cgroup",
            Self::Fact => "fact",
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Timer => "timer",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

impl Trigger {
    /// How much the pass has to look at. Whoever asks for a reload wants the kernel compared as well.
    const fn extent(self) -> Extent {
        match self {
            Self::Source | Self::Cgroup | Self::Fact => Extent::Changes,
            Self::Start | Self::Signal | Self::Request | Self::Timer | Self::Unconfirmed => {
                Extent::Everything
            }
        }
    }
}

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    pub fn new(meshes: MeshSource<S>, datapath: D, units: Units, supervisor: N) -> Self {
        Self {
            state: LoopState::new(meshes.source.name(), datapath.has_inherited()),
            meshes,
            datapath,
            units,
            supervisor,
            last_findings: None,
            last_answers: None,
            order_book: OrderBook::default(),
            trial_book: TrialBook::default(),
            refusal_book: RefusalBook::default(),
            split_zone: SplitZone::default(),
            moments: None,
            listeners: Listeners::default(),
            departures: Departures::default(),
            judged: None,
            seen: Seen::default(),
            served: ServedOf::default(),
            refusals: Refusals::default(),
            last_seen: None,
            sessions: BTreeSet::new(),
        }
    }

    /// What the operator wanted of an earlier process, and where it is written down.
    pub fn obey(&mut self, order_book: OrderBook) {
        self.state.health.orders = order_book.read();
        self.order_book = order_book;
    }

    /// Where the host's resolver learns who answers for the names of the mesh.
    pub fn tell_resolver(&mut self, split_zone: SplitZone) {
        self.split_zone = split_zone;
    }

    /// What an earlier process knew of endpoints, and where this one keeps it for the next.
    pub fn remember(&mut self, last_findings: LastFindings, recalled: Recalled) {
        self.last_findings = Some(last_findings);
        if let Some(base) = recalled.base {
            self.state.base = base.kept(monotonic());
        }
        self.state.recalled = recalled;
    }

    /// The endpoints that an earlier process removed, and where this one keeps them for the next.
    pub fn look_after(&mut self, departures: Departures) {
        self.departures = departures;
    }

    /// The first pass. Ready afterwards, whatever was loaded; an error if the host refuses.
    /// `before` is the last good mesh of the process before, where it is not that of the file.
    pub fn start(&mut self, loaded: Loaded, before: Option<Mesh>) -> Result<(), DaemonError> {
        if let Some(before) = before {
            self.state.hold(before);
        }
        self.resume_trial(&loaded);
        self.resume_refusal(&loaded);
        let outcome = self.follow(loaded, Trigger::Start);
        if let Err(reload::Stopped::Host(source)) = outcome {
            return Err(DaemonError::FirstPass {
                name: self.state.name.clone(),
                source: Box::new(source),
            });
        }
        self.supervisor.tell(News::Ready(&self.state.verdict()));
        self.listen();
        self.look_at_clients();
        Ok(())
    }

    /// Consumes events until one says stop.
    pub fn run(&mut self, events: &mut Events) {
        while let Some(event) = self.next(events) {
            match event {
                Event::SourceChanged(_) => drop(self.load(Trigger::Source)),
                Event::CgroupsChanged => self.cgroups_changed(),
                Event::Findings(found) => self.find(found),
                Event::Timer(Timer::Resync) => self.resync(),
                Event::Timer(Timer::Departures) => self.look_after_departures(),
                Event::Timer(Timer::Health) => self.tick(),
                Event::Timer(Timer::Trial) => self.take_back(),
                Event::Timer(Timer::Vacated) => self.vacate(),
                Event::Timer(Timer::Watchdog) => self.supervisor.tell(News::Alive),
                Event::Signal(Signal::Reload) => {
                    info!("reloading on SIGHUP");
                    self.listeners.reopen();
                    drop(self.announced(Trigger::Signal));
                }
                Event::Signal(Signal::Stop) => break,
                Event::Request(request) => self.request(request),
            }
        }
        self.state.roster.dismiss();
        self.state.published.dismiss();
        self.supervisor.tell(News::Stopping);
        info!("stopping");
        let interest = self.listeners.interest_without_readers();
        self.tell_interest(interest);
    }

    /// Begins to hear of connections. What ended before is in the buffer, and its ids are named by the tables
    /// that there are.
    fn listen(&mut self) {
        if self.datapath.left().is_none()
            && let Ok(actual) = self.datapath.read()
        {
            self.listeners.name(actual.tables);
        }
        match self.datapath.listen(self.listeners.clone()) {
            Ok(reader) => self.moments = reader,
            Err(error) => warn!(
                "cannot hear of connections, there is no access log and no trace: {}",
                crate::log::chain(&error)
            ),
        }
    }

    /// Makes programs tell what somebody wants to know of connections.
    fn tell_interest(&mut self, interest: Interest) {
        if let Err(error) = self.datapath.tell(interest) {
            warn!(
                "cannot say what is to be told of connections: {}",
                crate::log::chain(&error)
            );
        }
    }

    /// The agent probes endpoints themselves, whatever waypoints there are.
    fn leave_alone(&mut self, agent: Option<i32>) {
        let pid = agent.and_then(|pid| u32::try_from(pid).ok());
        if pid.is_none() || pid == self.state.agent {
            return;
        }
        match self.datapath.set_agent(pid.unwrap_or(0)) {
            Ok(()) => self.state.agent = pid,
            Err(error) => warn!(
                "cannot leave the connects of the agent alone: {}",
                crate::log::chain(&error)
            ),
        }
    }

    /// A reader of events, if there is room for one.
    fn join(&mut self, filter: Filter, since: Duration, is_own: bool) -> Result<Trace, Failure> {
        let lines = self.listeners.join(filter.clone(), since, is_own);
        let interest = self.listeners.interest();
        self.tell_interest(interest);
        let lines = lines.map_err(crowded)?;
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned().unwrap_or_default();
        let warnings = Later::new(move || {
            let (service, endpoint) = (filter.service.as_deref(), filter.endpoint.as_deref());
            let policy = filter.policy.as_deref();
            Ok(report::not_there(&mesh, service, endpoint, policy))
        });
        Ok(Trace { lines, warnings })
    }

    /// The next event. What the last one led to has taken effect, and is answered.
    fn next(&mut self, events: &mut Events) -> Option<Event> {
        self.datapath.quiesce();
        events.look_after_departures(!self.departures.is_empty());
        let next = self.state.health.next_step();
        let left = next.map(|next| Duration::from_nanos(next.saturating_sub(monotonic())));
        events.wake_in(left);
        let vacated = self.state.vacated;
        let left = vacated.map(|due| Duration::from_nanos(due.saturating_sub(monotonic())));
        events.vacate_in(left);
        let trial = self.state.trial.as_ref();
        events.take_back_in(trial.and_then(|trial| trial.left(monotonic())));
        events.next()
    }

    fn request(&mut self, request: Request) {
        // The caller may have gone meanwhile: then the answer goes nowhere.
        match request {
            Request::Status { name, reply } => drop(reply.send(self.status(name))),
            Request::Reload {
                request,
                caller,
                reply,
            } => drop(reply.send(self.reload(&request, caller))),
            Request::Confirm { caller, reply } => drop(reply.send(self.confirm(caller))),
            Request::Plan {
                texts,
                session,
                reply,
            } => drop(reply.send(self.plan(texts, session))),
            Request::Simulate { down, reply } => drop(reply.send(self.simulate(down))),
            Request::Explain {
                address,
                protocol,
                whose,
                reply,
            } => drop(reply.send(self.explain(address, protocol, &whose))),
            Request::Connections { name, reply } => drop(reply.send(self.connections(name))),
            Request::Suggest { within, reply } => drop(reply.send(self.suggest(within))),
            Request::Policies { name, reply } => drop(reply.send(self.policies(name))),
            Request::Traffic { reply } => drop(reply.send(self.traffic())),
            Request::Trace {
                filter,
                since,
                is_own,
                reply,
            } => drop(reply.send(self.join(filter, since, is_own))),
            Request::TraceDns {
                filter,
                is_own,
                reply,
            } => drop(reply.send(self.join_queries(filter, is_own))),
            Request::TraceEnded => {
                let interest = self.listeners.interest();
                self.tell_interest(interest);
                self.ask_for_queries();
            }
            Request::Dump { reply } => drop(reply.send(self.dump())),
            Request::Metrics { format, reply } => drop(reply.send(self.metrics(format))),
            Request::Duties { known, reply } => {
                self.state.roster.tell(known, &self.state.health, reply);
            }
            Request::Agent {
                report,
                caller,
                reply,
            } => {
                self.state.roster.hear(report, caller);
                self.leave_alone(caller.pid);
                drop(reply.send(Ok(())));
            }
            Request::Order {
                order,
                caller,
                reply,
            } => drop(reply.send(self.order(&order, caller))),
            Request::Kill {
                kill,
                caller,
                reply,
            } => drop(reply.send(self.kill(&kill, caller))),
            Request::Names { report, reply } => drop(reply.send(self.learn_names(report))),
            Request::Zone { since, wait, reply } => self.state.published.tell(since, wait, reply),
            Request::Dns {
                report,
                caller,
                reply,
            } => {
                // Its own questions must not come back to it.
                self.leave_alone(caller.pid);
                self.hear_of_dns(report);
                drop(reply.send(Ok(())));
            }
            Request::Queries { report, reply } => drop(reply.send(Ok(self.tell_queries(report)))),
            Request::Name { name, reply } => drop(reply.send(self.explain_name(&name))),
            Request::Health { report, reply } => self.find(vec![Found { report, reply }]),
        }
    }

    /// A reload that somebody waits for, so that systemd is told of its beginning and end.
    fn announced(&mut self, trigger: Trigger) -> reload::ReloadOutcome<D::Error> {
        self.supervisor.tell(News::Reloading);
        let outcome = self.load(trigger);
        self.supervisor.tell(News::Ready(&self.state.verdict()));
        outcome
    }

    /// Compares the kernel with what it should hold. The configuration is read again only if it may
    /// have changed without our notice.
    fn resync(&mut self) {
        self.meshes.forget_earlier();
        // Ahead of the pass, which adds up what is of cgroups that are gone.
        self.look_at_clients();
        if self.meshes.source.may_have_changed() {
            drop(self.load(Trigger::Timer));
        } else if self.state.mesh.is_some() {
            host::look_again(&mut self.meshes.host);
            drop(self.pass(Trigger::Timer));
            self.tell_status();
        }
    }

    /// A pass if what the mesh names is elsewhere now. The file has nothing to do with it.
    ///
    /// Nobody is in a cgroup that went, so that is in no hurry. A unit that is restarted has another one at once, which
    /// would have to wait for the end of the pass otherwise.
    fn cgroups_changed(&mut self) {
        let moved = self.look();
        if moved == Moved::Gone {
            let due = monotonic().saturating_add(VACATED.as_nanos() as u64);
            self.state.vacated.get_or_insert(due);
        }
        if moved == Moved::Begun {
            if let Some(held) = &self.state.applied
                && let Err(error) = self.datapath.greet(held, &self.state.facts)
            {
                debug!(
                    "the pass that follows tells why: {}",
                    crate::log::chain(&error)
                );
            }
            self.vacate();
        }
    }

    /// A pass that forgets the cgroups that went.
    fn vacate(&mut self) {
        drop(self.pass_with_facts(Trigger::Cgroup));
        self.tell_status();
    }

    /// Gathers the facts, with the addresses that loading has seen. Tells what became of cgroups that the mesh names since the last look;
    /// from now on that is an event. Both meshes count, where the last one could not be applied.
    fn look(&mut self) -> Moved {
        let meshes = self.state.mesh.iter().chain(&self.state.applied);
        let meshes: Vec<_> = meshes.map(Arc::clone).collect();
        let named = meshes.iter().map(|mesh| &**mesh);
        let sight = host::look(&self.meshes.host, &mut self.units, named);
        let mut moved = Moved::Nothing;
        for change in &sight.changed {
            let named = |named: &dyn Fn(&Mesh) -> bool| meshes.iter().any(|mesh| named(mesh));
            let role = if named(&|mesh| mesh.callers().any(|(it, _)| *it == change.name)) {
                Role::Special
            } else if named(&|mesh| mesh.capture.cgroups.contains(&change.name)) {
                Role::Captured
            } else if named(&|mesh| is_client(mesh, &change.name)) {
                Role::Client
            } else if named(&|mesh| captures(mesh).is_some_and(|it| it.knows(&change.name))) {
                Role::Resolver
            } else {
                Role::Asker
            };
            log_change(change, role);
            moved = moved.max(match role {
                Role::Captured => Moved::Begun,
                _ if !change.has_begun => Moved::Gone,
                _ => Moved::Begun,
            });
        }
        self.state.facts = Facts {
            // The host does not show it.
            standings: std::mem::take(&mut self.state.facts.standings),
            departed: std::mem::take(&mut self.state.facts.departed),
            ..sight.facts
        };
        warn_once(&sight.blind, &mut self.state.blind_units);
        moved
    }

    fn tell_status(&mut self) {
        let verdict = self.state.verdict();
        if self.state.told.as_deref() != Some(&*verdict) {
            self.supervisor.tell(News::Status(&verdict));
            self.state.told = Some(verdict);
        }
    }
}

/// Why there is no room for another reader of events.
fn crowded(there: usize) -> Failure {
    let error = format!("{there} readers of events are there, which is the most");
    Failure::new(FailureKind::Unavailable, error)
}

/// Says what cannot be watched, unless that has been said.
fn warn_once(blind: &[WatchError], said: &mut Vec<String>) {
    let texts: Vec<_> = blind.iter().map(|error| crate::log::chain(error)).collect();
    if texts != *said {
        for text in &texts {
            warn!("{text}; changes there are found by the timer or a reload only");
        }
        *said = texts;
    }
}

/// What a mesh names a cgroup for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// As a caller that is treated specially.
    Special,
    Captured,
    /// As a client of authorization policies.
    Client,
    /// As one whose questions to DNS servers are captured, or left alone.
    Asker,
    /// As a resolver that hosts may have, and most have none of.
    Resolver,
}

fn is_client(mesh: &Mesh, cgroup: &CgroupRef) -> bool {
    let mut clients = mesh.clients().into_iter();
    clients.any(|it| matches!(it, Principal::Cgroup(it) if it == cgroup))
}

fn captures(mesh: &Mesh) -> Option<&QueryCapture> {
    mesh.dns.serving.as_ref()?.capture.as_ref()
}

fn log_change(change: &Change, role: Role) {
    let name = &change.name;
    let paths: Vec<_> = change.found.iter().map(|it| it.path.display()).collect();
    match paths.as_slice() {
        [] if role == Role::Resolver => debug!("{name} has no cgroup"),
        [] if change.before => info!("{name} has stopped: it has no cgroup any more"),
        [] => warn!(
            "{name} has no cgroup now: it is not running, or not by this name; as long as that is so, {}",
            match role {
                Role::Special => "no connection is treated as its own",
                Role::Captured => "no connection of it is routed",
                Role::Client => "policies that name it match nobody by that",
                Role::Asker | Role::Resolver => "`[dns]` means nobody by it",
            }
        ),
        // The links tell.
        _ if role != Role::Special => {}
        [path] => info!("{name} is cgroup {path}"),
        [first, more @ ..] => info!("{name} is cgroup {first} and {} more", more.len()),
    }
}

#[cfg(test)]
mod tests;
