//! What the daemon knows between two events.

use super::roster::Roster;
use super::zone::Published;
use crate::api::{About, LastPass, LastReload, State as Kind, TimeBase, now};
use crate::config::{Loaded, Origin, Problems, Severity};
use crate::daemon::last_answers::RecalledNames;
use crate::daemon::last_findings::Recalled;
use crate::daemon::refusal::Refusal;
use crate::daemon::trial::Trial;
use crate::health::Health;
use crate::hooks::captured;
use crate::host::monotonic;
use crate::model::{Facts, Mesh};
use crate::names::Answers;
use crate::report::{History, absent, count, first_few};
use std::sync::Arc;

/// The last good mesh, and how reading and applying went.
pub struct LoopState {
    /// The name of the configuration: the file.
    pub name: Origin,
    /// What the kernel should hold: the last configuration without errors.
    pub mesh: Option<Arc<Mesh>>,
    /// How many endpoints that has. They are counted once, as an event may concern one of a million.
    endpoints: usize,
    /// What the kernel does hold: the last one that could be applied.
    pub applied: Option<Arc<Mesh>>,
    /// What was true of the host at the last look.
    pub facts: Facts,
    /// When the cgroups that went since the last pass are to be forgotten, by CLOCK_MONOTONIC.
    pub vacated: Option<u64>,
    /// What is known of endpoints. How they stand for it is among the facts.
    pub health: Health,
    /// By which its times are told.
    pub base: TimeBase,
    /// What an earlier process knew, until there is a mesh.
    pub recalled: Recalled,
    /// What is known of names. What they stand for is in the mesh.
    pub names: Answers,
    /// What an earlier process knew, until there is a mesh.
    pub recalled_names: RecalledNames,
    /// Whether it held the mesh of an earlier process when we began.
    inherited: bool,
    pub present: bool,
    pub origins: Vec<Origin>,
    /// Everything there is to say about the configuration as last read.
    pub problems: Problems,
    /// Why the file as last read is not what `mesh` holds.
    pub unusable: Option<Unusable>,
    /// What was asked for to be confirmed, and is not yet, or was not.
    pub trial: Option<Trial>,
    /// What was refused because it would cut off somebody.
    pub refusal: Option<Refusal>,
    /// Why the last pass failed.
    pub failure: Option<String>,
    pub last_reload: Option<LastReload>,
    pub last_pass: Option<LastPass>,
    pub roster: Roster,
    /// The names that the agent serves.
    pub published: Published,
    /// The process of the agent, as the programs were told.
    pub agent: Option<u32>,
    /// What metrics tell of our work.
    pub history: History,
    /// What the log has said about the file, so that it is said once.
    pub logged: Option<String>,
    /// What systemd was told last.
    pub told: Option<String>,
    /// What cannot be watched.
    pub blind: Vec<String>,
    /// Where it cannot be watched that units come and go.
    pub blind_units: Vec<String>,
    started: String,
}

/// Why a configuration is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is none, or a part of it is gone.
    Absent,
    /// It has errors.
    Invalid,
    /// It takes every service away, and does not say that this is meant.
    Emptied,
    /// Nobody confirmed it.
    Unconfirmed,
    /// A policy would cut off the operator or the agent, and does not say that this is meant.
    LocksOut,
}

impl LoopState {
    pub fn new(name: Origin, inherited: bool) -> Self {
        Self {
            name,
            mesh: None,
            endpoints: 0,
            applied: None,
            facts: Facts::default(),
            vacated: None,
            health: Health::default(),
            base: TimeBase::new(monotonic()),
            recalled: Recalled::default(),
            names: Answers::default(),
            recalled_names: RecalledNames::default(),
            inherited,
            present: false,
            origins: Vec::new(),
            problems: Problems::default(),
            unusable: None,
            trial: None,
            refusal: None,
            failure: None,
            last_reload: None,
            last_pass: None,
            roster: Roster::begun(),
            published: Published::begun(),
            agent: None,
            history: History::begun(),
            logged: None,
            told: None,
            blind: Vec::new(),
            blind_units: Vec::new(),
            started: now(),
        }
    }

    /// From now on the kernel should hold this mesh.
    pub fn hold(&mut self, written: Mesh) {
        let recalled = std::mem::take(&mut self.recalled_names);
        let before = self.mesh.clone();
        let mut mesh = self.names.apply(written, before.as_deref(), monotonic());
        if !recalled.is_empty() && !self.names.is_empty() {
            self.names.recall(&recalled);
            mesh = self.names.resolved(None);
        }
        self.hold_resolved(mesh);
    }

    /// The same mesh with what names stand for now. Tells whether that is something else.
    pub fn resolve(&mut self) -> bool {
        let before = self.mesh.clone();
        let mesh = self.names.resolved(before.as_deref());
        let changes = before.is_none_or(|before| before.services != mesh.services);
        if changes {
            self.hold_resolved(mesh);
        }
        changes
    }

    fn hold_resolved(&mut self, mesh: Mesh) {
        self.endpoints = mesh.endpoints();
        let standings = &mut self.facts.standings;
        self.health.follow(&mesh, standings);
        let recalled = std::mem::take(&mut self.recalled);
        if !recalled.is_empty() {
            self.health.recall(|target| recalled.of(target), standings);
        }
        self.roster.follow(&mesh, &self.health, &self.names);
        self.mesh = Some(Arc::new(mesh));
    }

    /// Takes over what was read. The mesh only changes if it can be used, and nothing speaks against it.
    pub fn take(&mut self, loaded: Loaded, against: Option<Unusable>) {
        self.problems = loaded.problems;
        self.present = loaded.present;
        self.origins = loaded.origins;
        self.unusable = match loaded.mesh {
            Some(_) if against.is_some() => against,
            Some(mesh) if self.is_emptied_by(&mesh) => Some(Unusable::Emptied),
            Some(mesh) => {
                self.hold(mesh);
                None
            }
            None if self.present => Some(Unusable::Invalid),
            None => Some(Unusable::Absent),
        };
    }

    /// Whether `mesh` would take every service away and does not say that this is meant.
    pub fn is_emptied_by(&self, mesh: &Mesh) -> bool {
        let has_services = |mesh: &Arc<Mesh>| !mesh.services.is_empty();
        mesh.services.is_empty()
            && !mesh.allow_empty
            && self.mesh.as_ref().is_some_and(has_services)
    }

    pub fn kind(&self) -> Kind {
        match &self.mesh {
            None if self.inherited => Kind::Keeping,
            None => Kind::Waiting,
            // It is not the state before that the kernel holds, then.
            Some(_) if self.unusable == Some(Unusable::Unconfirmed) && self.failure.is_some() => {
                Kind::Failing
            }
            Some(_) if self.unusable.is_some() => Kind::Keeping,
            Some(_) if self.failure.is_some() => Kind::Failing,
            Some(mesh) if mesh.services.is_empty() => Kind::Empty,
            Some(mesh) if captured(mesh, &self.facts).is_empty() => Kind::Uncaptured,
            Some(_) => Kind::Routing,
        }
    }

    /// How it goes, in one line.
    pub fn verdict(&self) -> String {
        let pending = self.trial.as_ref().filter(|it| it.taken_back.is_none());
        let pending = pending.map(|it| format!("; on trial until {}", it.until_at));
        self.verdict_alone() + &pending.unwrap_or_default()
    }

    fn verdict_alone(&self) -> String {
        let name = &self.name;
        let held = match self.applied {
            Some(_) => "keeping the last good state",
            None if self.inherited => "keeping what the daemon before left",
            None => "routing nothing yet",
        };
        match self.kind() {
            Kind::Waiting | Kind::Keeping => format!("{held}: {}", self.trouble()),
            Kind::Failing if self.unusable.is_some() => format!(
                "{}, but the state before cannot be applied: {}",
                self.trouble(),
                self.failure.as_deref().unwrap_or_default()
            ),
            Kind::Failing => format!(
                "{held}: {name} cannot be applied: {}",
                self.failure.as_deref().unwrap_or_default()
            ),
            Kind::Empty => format!("routing nothing: {name} has no services"),
            Kind::Uncaptured => match &*self.absent() {
                [] => format!("routing nothing: `[capture] cgroups` of {name} is empty"),
                absent => format!("routing nothing: waiting for cgroup {}", absent.join(", ")),
            },
            // Unattended is what others say of us.
            Kind::Routing | Kind::Unattended => {
                let (services, endpoints) = self.counts();
                let absent = match &*self.absent() {
                    [] => String::new(),
                    absent => format!("; waiting for cgroup {}", absent.join(", ")),
                };
                format!("routing {services} over {endpoints}{absent}")
            }
        }
    }

    /// Why the file cannot be used, in words.
    fn trouble(&self) -> String {
        let name = &self.name;
        match self.unusable {
            Some(Unusable::Emptied) => emptied(name),
            Some(Unusable::Invalid) => {
                let errors = self.problems.count(Severity::Error);
                format!("{name} has {}", count(errors, "error"))
            }
            Some(Unusable::LocksOut) => {
                let lockouts = self.refusal.as_ref();
                let lockouts = lockouts.iter().flat_map(|refusal| &refusal.lockouts);
                let lockouts: Vec<_> = lockouts.map(|it| it.text.clone()).collect();
                format!("{name} is not applied: {}", first_few(&lockouts).join("; "))
            }
            Some(Unusable::Unconfirmed) => {
                let trial = self.trial.as_ref();
                let back = trial.and_then(|trial| trial.taken_back.as_ref());
                format!(
                    "{name} was taken back at {}, because nobody confirmed it within {} s; it is applied when it \
                     changes, or by `kmesh-lite reload`",
                    back.map_or("its end", |back| &back.at),
                    trial.map_or(0, Trial::seconds)
                )
            }
            Some(Unusable::Absent) | None => format!("{name} does not exist"),
        }
    }

    /// Names of captured cgroups that are not there.
    pub fn absent(&self) -> Vec<String> {
        let mesh = self.mesh.as_ref();
        mesh.map_or_else(Vec::new, |mesh| absent(mesh, &self.facts))
    }

    fn counts(&self) -> (String, String) {
        let mesh = self.mesh.as_ref();
        let services = mesh.map_or(0, |mesh| mesh.services.len());
        (
            count(services, "service"),
            count(self.endpoints, "endpoint"),
        )
    }

    pub fn about(&self) -> About {
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("KMESH_LITE_COMMIT").to_owned(),
            layout_version: kmesh_lite_common::LAYOUT_VERSION,
            pid: std::process::id(),
            started: self.started.clone(),
        }
    }
}

/// Why a configuration without services is not applied.
pub fn emptied(name: &Origin) -> String {
    format!(
        "{name} takes every service away; if that is meant, set `allow_empty = true` under `[mesh]`"
    )
}
