//! Reading the configuration and making the kernel follow it.

use super::state::Unusable;
use super::{Daemon, Trigger, warn_once};
use crate::api::{LastPass, LastReload, now};
use crate::config::{Loaded, Severity};
use crate::daemon::datapath::{Blame, Datapath};
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::hooks::captured;
use crate::model::Mesh;
use crate::reconcile::{Extent, Pass};
use crate::report::problems::{render, summary};
use crate::report::{FEW, first_few};
use log::{Level, debug, error, info, log, warn};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What came of looking at the file.
pub type ReloadOutcome<E> = Result<Applied, Stopped<E>>;

/// A pass, and how long it took.
#[derive(Debug, Default)]
pub struct Applied {
    pub pass: Pass,
    pub took: Duration,
    /// How many connections that stood were ended because policies allow them no more, by policy.
    pub ended: BTreeMap<String, u64>,
}

/// Why the kernel does not do what the file says now.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The file cannot be used.
    Unusable(Unusable),
    /// It cannot be applied as it is.
    Refused(E),
    /// The host or the kernel is in the way.
    Host(E),
}

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Reads the configuration and makes the kernel follow it.
    pub(super) fn load(&mut self, trigger: Trigger) -> ReloadOutcome<D::Error> {
        let loaded = match trigger {
            Trigger::Source => self.meshes.load_changed(),
            _ => self.meshes.load(),
        };
        self.follow(loaded, trigger)
    }

    /// Applies what was loaded if it can be used, otherwise leaves everything as it is.
    pub(super) fn follow(&mut self, loaded: Loaded, trigger: Trigger) -> ReloadOutcome<D::Error> {
        warn_once(self.meshes.source.blind(), &mut self.state.blind);
        let against = self.against(&loaded, trigger);
        self.state.take(loaded, against);
        let is_asked = matches!(
            trigger,
            Trigger::Start | Trigger::Signal | Trigger::Request | Trigger::Unconfirmed
        );
        if self.state.unusable.is_some() && is_asked {
            // A caller that asks for a reload wants the kernel compared as well, even if the file has errors.
            drop(self.pass(trigger));
        }
        let outcome = match self.state.unusable {
            None => {
                // Notes ask for nothing.
                let level = match self.state.problems.count(Severity::Warning) {
                    0 => Level::Info,
                    _ => Level::Warn,
                };
                let message = format!("the configuration has {}", summary(&self.state.problems));
                self.log_problems(level, &message);
                self.pass(trigger)
            }
            Some(why) => {
                let level = match why {
                    Unusable::Absent | Unusable::Unconfirmed => Level::Warn,
                    Unusable::Invalid | Unusable::Emptied | Unusable::LocksOut => Level::Error,
                };
                self.log_problems(level, &self.state.verdict());
                Err(Stopped::Unusable(why))
            }
        };
        if outcome.is_ok() {
            self.meshes.keep();
        }
        self.meshes.give_memory_back();
        self.state.history.reloaded(outcome.is_ok());
        self.state.last_reload = Some(LastReload {
            at: now(),
            trigger: trigger.as_str().to_owned(),
            applied: outcome.is_ok(),
            summary: match &outcome {
                Ok(applied) => first_few(&applied.pass.summary),
                Err(_) => vec![self.state.verdict()],
            },
        });
        self.tell_status();
        outcome
    }

    /// Makes the kernel hold the last good mesh. If it cannot, the one before it is kept in repair.
    pub(super) fn pass(&mut self, trigger: Trigger) -> ReloadOutcome<D::Error> {
        // A change of the host from here on is another event.
        self.look();
        self.pass_with_facts(trigger)
    }

    /// The same with the facts of the last look.
    pub(super) fn pass_with_facts(&mut self, trigger: Trigger) -> ReloadOutcome<D::Error> {
        // Whatever the pass is for, it forgets them as well.
        self.state.vacated = None;
        let Some(mesh) = self.state.mesh.clone() else {
            return Err(Stopped::Unusable(Unusable::Absent));
        };
        match self.reconcile(&mesh, trigger.extent()) {
            Ok(mut applied) => {
                if self.state.failure.take().is_some() {
                    info!("the failure is over");
                }
                self.listeners.log_to(mesh.access_log.as_ref());
                let interest = self.listeners.interest();
                self.tell_interest(interest);
                self.state.applied = Some(mesh);
                self.publish();
                self.passed(&applied, trigger);
                self.settle_departures();
                applied.ended = self.end_outlawed();
                Ok(applied)
            }
            Err(failure) => {
                let text = crate::log::chain(&failure);
                if self.state.failure.as_ref() != Some(&text) {
                    error!(trigger = trigger.as_str(); "cannot apply {}: {text}", self.state.name);
                }
                self.state.failure = Some(text);
                self.repair(&mesh, trigger);
                Err(match D::blame(&failure) {
                    Blame::Configuration => Stopped::Refused(failure),
                    Blame::Host => Stopped::Host(failure),
                })
            }
        }
    }

    /// A pass if somebody detached programs since the last one: whoever asks how it goes is not told what
    /// was true then.
    pub(super) fn put_links_back(&mut self) {
        let Some(held) = &self.state.applied else {
            return;
        };
        let wanted = captured(held, &self.state.facts);
        // Where they cannot be read, the pass tells why.
        let attached = self.datapath.attached_to().unwrap_or_default();
        if wanted.iter().any(|cgroup| !attached.contains(&cgroup.path)) {
            drop(self.pass(Trigger::Request));
            self.tell_status();
        }
    }

    /// After `failed` could not be applied: drift of what is held instead, and whatever the failed
    /// pass left half done.
    fn repair(&mut self, failed: &Arc<Mesh>, trigger: Trigger) {
        let held = self.state.applied.clone();
        let Some(held) = held.filter(|held| !Arc::ptr_eq(held, failed)) else {
            return;
        };
        match self.reconcile(&held, Extent::Everything) {
            Ok(applied) => {
                self.publish();
                self.passed(&applied, trigger);
                self.settle_departures();
            }
            // The host is in the way of both; the failure that was told is enough.
            Err(failure) => debug!(
                "cannot keep the last good state in repair: {}",
                crate::log::chain(&failure)
            ),
        }
    }

    fn reconcile(&mut self, mesh: &Mesh, extent: Extent) -> Result<Applied, D::Error> {
        self.announce_departures(mesh);
        let start = Instant::now();
        let pass = self.datapath.reconcile(mesh, &self.state.facts, extent);
        let took = start.elapsed();
        let history = &mut self.state.history;
        history.passes += 1;
        history.pass_seconds += took.as_secs_f64();
        match &pass {
            Ok(pass) => {
                history.operations += pass.operations as u64;
                history.drift += pass.drift.len() as u64;
            }
            Err(_) => history.failed_passes += 1,
        }
        Ok(Applied {
            pass: pass?,
            took,
            ended: BTreeMap::new(),
        })
    }

    fn passed(&mut self, applied: &Applied, trigger: Trigger) {
        if let Some(tables) = self.datapath.left() {
            self.listeners.name(tables);
        }
        let pass = &applied.pass;
        self.state.last_pass = Some(LastPass {
            at: now(),
            operations: pass.operations,
            drift: first_few(&pass.drift),
            took_ms: applied.took.as_secs_f64() * 1e3,
        });
        log_pass(applied, trigger);
    }

    fn log_problems(&mut self, level: Level, message: &str) {
        let text = render(&self.state.problems, false);
        if text.is_empty() && self.state.unusable.is_none() {
            if self.state.logged.take().is_some() {
                info!("{} is without problems again", self.state.name);
            }
            return;
        }
        self.log_once(level, message, &text);
    }

    /// Says the same about the file once only, until something else can be said.
    fn log_once(&mut self, level: Level, message: &str, text: &str) {
        let both = format!("{message}\n{text}");
        if self.state.logged.as_ref() == Some(&both) {
            debug!("{message}, as before");
            return;
        }
        log!(level, "{}", both.trim_end());
        self.state.logged = Some(both);
    }
}

fn log_pass(Applied { pass, took, .. }: &Applied, trigger: Trigger) {
    for line in first_few(&pass.drift) {
        warn!(trigger = trigger.as_str(); "drift: {line}");
    }
    for line in pass.drift.iter().skip(FEW) {
        debug!(trigger = trigger.as_str(); "drift: {line}");
    }
    let quiet = pass.operations == 0 && pass.drift.is_empty() && pass.summary.is_empty();
    if quiet && matches!(trigger, Trigger::Timer | Trigger::Cgroup) {
        debug!(took:?; "nothing differs");
        return;
    }
    // Whoever hands facts in tells of them.
    let level = match trigger {
        Trigger::Fact => Level::Debug,
        _ => Level::Info,
    };
    log!(
        level, trigger = trigger.as_str(), operations = pass.operations, took:?;
        "{}", if quiet { "nothing to change" } else { "applied" }
    );
    for line in first_few(&pass.summary) {
        log!(level, "{line}");
    }
    // A service may have a hundred thousand endpoints.
    for line in pass.summary.iter().skip(FEW) {
        debug!("{line}");
    }
}
