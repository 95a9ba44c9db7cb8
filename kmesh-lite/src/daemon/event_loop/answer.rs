//! Answers to requests.

use super::Daemon;
use super::reload::{Applied, ReloadOutcome, Stopped};
use super::state::{Unusable, emptied};
use crate::api::{
    ConfigStatus, Connections, DatapathStatus, Explanation, Failure, FailureKind, FileText,
    Findings, PlanText, Reloaded, Session, Simulation, Status, TrafficSums, VerdictKind,
};
use crate::config::{Fragments, Origin};
use crate::control::{ExplainFor, Later, Text};
use crate::daemon::datapath::{Blame, Datapath};
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::{self, Cgroups, Usage, monotonic};
use crate::model::{Mesh, Protocol};
use crate::report::problems::{findings, invalid};
use crate::report::{self, Asked, Client, Format, Known, Metrics};
use kmesh_lite_common::{DNS, Port};
use kmesh_lite_ebpf::Outcome;
use std::collections::BTreeMap;
use std::net::SocketAddr;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// The snapshot is taken here; words are made of it where they keep nobody waiting.
    pub(super) fn status(&mut self, name: Option<String>) -> Result<Later<Status>, Failure> {
        self.put_links_back();
        if !self.departures.is_empty() {
            self.look_after_departures();
        }
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned();
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let facts = self.state.facts.clone();
        let known = self.known();
        let refused = snapshot.counters.refused();
        self.refusals.look(&snapshot.tables, &refused, known.now);
        let refusals = self.refusals.clone();
        let state = &self.state;
        let problems = state.problems.clone();
        let mut config = ConfigStatus {
            path: state.name.as_path().to_owned(),
            present: state.present,
            files: state.origins.iter().map(|it| it.as_path().into()).collect(),
            problems: None,
        };
        let mut status = Status {
            state: state.kind(),
            verdict: state.verdict(),
            failure: state.failure.clone(),
            config: None,
            last_reload: state.last_reload.clone(),
            last_pass: state.last_pass.clone(),
            trial: state.trial.as_ref().map(|it| it.status(monotonic())),
            lockouts: match (state.unusable, &state.refusal) {
                (Some(Unusable::LocksOut), Some(it)) => it.lockouts.clone(),
                _ => Vec::new(),
            },
            departed: self.departures.status(),
            orders: Vec::new(),
            names: Vec::new(),
            events: Some(self.listeners.status()),
            datapath: DatapathStatus::default(),
            daemon: Some(state.about()),
            dns: state.published.status(state.roster.is_away(), state.base),
            agent: state.roster.status(),
        };
        Ok(Later::new(move || {
            config.problems = (!problems.is_empty()).then(|| findings(&problems, false));
            status.config = Some(config);
            status.datapath = report::status(&snapshot, mesh.as_deref(), &facts, &known);
            refusals.tell(known.base, &mut status.datapath.policies);
            status.datapath.show_only(name.as_deref())?;
            let is_shown = |service: &str| name.as_ref().is_none_or(|name| name == service);
            status.names = report::names(&known, name.as_deref());
            status.departed.retain(|it| is_shown(&it.service));
            status.orders = report::orders(
                &known.health.orders,
                mesh.as_deref().unwrap_or(&Mesh::default()),
            );
            status.orders.retain(|it| is_shown(&it.service));
            Ok(status)
        }))
    }

    /// What is known of endpoints at the moment.
    pub(super) fn known(&mut self) -> Known {
        let now = monotonic();
        self.state.base = self.state.base.kept(now);
        Known {
            health: self.state.health.clone(),
            names: self.state.names.states(),
            now,
            base: self.state.base,
        }
    }

    pub(super) fn reloaded(&self, outcome: ReloadOutcome<D::Error>) -> Result<Reloaded, Failure> {
        let invalid = || Failure::new(FailureKind::InvalidConfiguration, self.state.verdict());
        match outcome {
            Ok(Applied { pass, took, ended }) => Ok(Reloaded {
                operations: pass.operations,
                ended,
                summary: pass.summary,
                drift: pass.drift,
                absent: self.state.absent(),
                took_ms: took.as_secs_f64() * 1e3,
                trial: self.state.trial.as_ref().map(|it| it.status(monotonic())),
                problems: self.findings(),
            }),
            Err(Stopped::Unusable(Unusable::Invalid)) => {
                Err(invalid().with_problems(findings(&self.state.problems, false)))
            }
            Err(Stopped::Unusable(_)) => Err(invalid()),
            Err(Stopped::Refused(error) | Stopped::Host(error)) => Err(failed::<D>(error)),
        }
    }

    /// What there is to say about the configuration, if there is anything.
    fn findings(&self) -> Option<Findings> {
        let problems = &self.state.problems;
        (!problems.is_empty()).then(|| findings(problems, false))
    }

    pub(super) fn plan(
        &mut self,
        texts: Option<Vec<FileText>>,
        session: Option<Session>,
    ) -> Result<PlanText, Failure> {
        let mut name = self.state.name.clone();
        let loaded = match texts {
            None => self.meshes.load(),
            Some(texts) => {
                let texts = texts.into_iter();
                let texts = texts.map(|file| (Origin::new(file.path), file.text));
                let fragments: Fragments = texts.collect();
                if let Some(first) = fragments.origins().first() {
                    name = first.clone();
                }
                self.meshes.load_other(&fragments)
            }
        };
        match loaded.mesh {
            Some(mesh) if self.state.is_emptied_by(&mesh) => Err(Failure::new(
                FailureKind::InvalidConfiguration,
                emptied(&name),
            )),
            Some(written) => {
                let lockouts = self.lockouts(&written, session);
                // What is known of names stays known.
                let mut names = self.state.names.clone();
                let applied = self.state.applied.as_deref();
                let mesh = &names.apply(written, applied, monotonic());
                let mut facts = host::facts(&self.meshes.host, self.units.cgroups(), mesh);
                // What is known of endpoints stays known.
                facts.standings = self.state.facts.standings.clone();
                facts.departed = self.departures.ids();
                let mut health = self.state.health.clone();
                health.follow(mesh, &mut facts.standings);
                let change = self.datapath.change(mesh, &facts).map_err(failed::<D>)?;
                let live = self.live(mesh, &facts).map_err(failed::<D>)?;
                let meshes = (self.state.applied.as_deref(), mesh);
                let orders = &self.state.health.orders;
                Ok(PlanText {
                    lockouts: report::lockouts(&lockouts),
                    ..report::plan(&change, meshes, &facts, &live, orders)
                })
            }
            None if loaded.present => Err(invalid(name, &loaded.problems, false)),
            None => Err(Failure::new(
                FailureKind::InvalidConfiguration,
                format!("{name} does not exist"),
            )),
        }
    }

    pub(super) fn simulate(&self, down: Vec<String>) -> Result<Later<Simulation>, Failure> {
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned();
        let facts = self.state.facts.clone();
        Ok(Later::new(move || {
            let none = || Failure::new(FailureKind::NotFound, "there is no mesh yet");
            report::simulate(&*mesh.ok_or_else(none)?, &facts, &down)
        }))
    }

    pub(super) fn explain(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
        whose: &ExplainFor,
    ) -> Result<Explanation, Failure> {
        let client = match whose {
            ExplainFor::Arrival(from) => {
                self.put_links_back();
                let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
                return Ok(report::explain_arrival(&snapshot, address, protocol, *from));
            }
            ExplainFor::Program {
                cgroup,
                pid,
                user,
                group,
            } => {
                let client = match cgroup {
                    Some(name) => Client::of(name, self.units.cgroups().lineage(name))?,
                    None => Client::ANY,
                };
                let is_agent = pid.is_some() && *pid == self.state.agent;
                Client {
                    user: *user,
                    group: *group,
                    is_daemon: *pid == Some(std::process::id()) || is_agent,
                    ..client
                }
            }
        };
        self.put_links_back();
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned();
        let known = self.known();
        let why = |service: &str, address, ports: &[Port]| {
            report::why_down(&known, mesh.as_deref()?, service, address, ports)
        };
        let asked = Asked {
            client,
            address,
            protocol,
        };
        let remembered = self.datapath.remembered(&asked.clients(&snapshot));
        let remembered = remembered.map_err(failed::<D>)?;
        let mut explanation = report::explain(&snapshot, &asked, &remembered, known.base, &why);
        if let Some(mesh) = &mesh {
            report::tell_names(&mut explanation, mesh, &known);
            let outcome = explanation.outcome.as_deref();
            let is_passed = explanation.verdict == VerdictKind::Pass
                && outcome.is_none_or(|it| it == Outcome::PassUndeclaredPort.as_str());
            if is_passed && address.port() == DNS.get() && mesh.query_capture().is_some() {
                let words = "; the agent answers it where `[dns] capture` counts for who asks";
                explanation.text.push_str(words);
            }
        }
        Ok(explanation)
    }

    pub(super) fn connections(
        &mut self,
        name: Option<String>,
    ) -> Result<Later<Connections>, Failure> {
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let now = monotonic();
        Ok(Later::new(move || {
            // There may be thousands of cgroups to look at.
            let ids = snapshot.connections.iter().map(|it| it.connection.cgroup);
            let cgroups = Cgroups::find().map_or_else(|_| BTreeMap::new(), |it| it.paths(ids));
            report::connections(&snapshot, &cgroups, now, name.as_deref())
        }))
    }

    pub(super) fn traffic(&mut self) -> Result<Later<TrafficSums>, Failure> {
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let now = monotonic();
        Ok(Later::new(move || {
            let ids = snapshot.accounts.sums.keys().map(|key| key.cgroup);
            let cgroups = Cgroups::find().map_or_else(|_| BTreeMap::new(), |it| it.paths(ids));
            Ok(report::traffic(&snapshot, &cgroups, now))
        }))
    }

    pub(super) fn metrics(&mut self, format: Format) -> Result<Text, Failure> {
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let about = self.state.about();
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned();
        let limits = held.map_or(snapshot.room, |mesh| mesh.limits);
        let state = Some(self.state.kind());
        let history = Some(self.state.history.clone());
        let events = Some(self.listeners.status());
        let known = self.known();
        let away = self.state.roster.is_away();
        let dns = self.state.published.status(away, known.base);
        Ok(Text::new(move |to| {
            let ids = snapshot.accounts.sums.keys().map(|key| key.cgroup);
            let cgroups = Cgroups::find().map_or_else(|_| BTreeMap::new(), |it| it.paths(ids));
            let arrivals = &snapshot.accounts.arrivals;
            let arrived = mesh.as_ref().map(|mesh| report::arrivals(mesh, arrivals));
            let metrics = Metrics {
                endpoints: mesh.map(|mesh| (mesh, known)),
                dns,
                arrived: arrived.unwrap_or_default(),
                snapshot,
                cgroups,
                limits,
                history,
                events,
                version: about.version,
                commit: about.commit,
                state,
                usage: Usage::look(),
            };
            metrics.write(format, to)
        }))
    }

    pub(super) fn dump(&mut self) -> Result<Text, Failure> {
        let actual = self.datapath.read().map_err(failed::<D>)?;
        Ok(Text::new(move |to| report::dump(&actual, to)))
    }
}

pub(super) fn failed<D: Datapath>(error: D::Error) -> Failure {
    let kind = match D::blame(&error) {
        Blame::Configuration => FailureKind::InvalidConfiguration,
        Blame::Host => FailureKind::Failed,
    };
    Failure::new(kind, crate::log::chain(&error))
}
