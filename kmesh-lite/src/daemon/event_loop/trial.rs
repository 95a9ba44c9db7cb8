//! What is applied until somebody confirms it, and what becomes of it.

use super::reload::Stopped;
use super::{Daemon, Trigger};
use crate::api::{Confirmed, Failure, FailureKind, ReloadRequest, Reloaded, now};
use crate::config::Loaded;
use crate::control::Caller;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::daemon::trial::{LONGEST, TakenBack, Trial};
use crate::daemon::trial_book::TrialBook;
use crate::host::monotonic;
use log::{error, info, warn};
use std::time::Duration;

/// Connections that are remembered of those who ask. Nearly all have ended where there are so many.
const MOST_SESSIONS: usize = 64;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Where a trial is written down, and the one that an earlier process had not seen the end of.
    pub fn go_on_with(&mut self, trial_book: TrialBook) {
        self.state.trial = trial_book.read();
        self.trial_book = trial_book;
    }

    /// At the start: a trial whose time is over is taken back, and what was taken back stays so. `loaded` is what the
    /// file says.
    pub(super) fn resume_trial(&mut self, loaded: &Loaded) {
        let Some(trial) = self.state.trial.clone() else {
            return;
        };
        let goes_back = match trial.left(monotonic()) {
            Some(left) if !left.is_zero() => {
                info!(
                    "on trial until {}, unless `kmesh-lite confirm` comes before",
                    trial.until_at
                );
                false
            }
            Some(_) => self.end_unconfirmed(&trial),
            None if loaded.mesh.is_some() => self.is_unconfirmed(Trigger::Start),
            None => self.state.mesh.is_none(),
        };
        if !goes_back {
            return;
        }
        match self.meshes.load_other(&trial.before).mesh {
            Some(mesh) => {
                self.state.hold(mesh);
                self.meshes.keep_again(&trial.before);
            }
            None => self.cannot_go_back(),
        }
    }

    /// Reads and applies the file for somebody who waits for it, on trial if that is asked for.
    pub(super) fn reload(
        &mut self,
        request: &ReloadRequest,
        caller: Caller,
    ) -> Result<Reloaded, Failure> {
        info!(uid = caller.uid, pid = caller.pid.unwrap_or_default(); "reloading on request");
        self.listeners.reopen();
        let before = self.state.trial.clone();
        if let Some(seconds) = request.confirm_s {
            self.begin_trial(Duration::from_secs(seconds))?;
        }
        if self.sessions.len() >= MOST_SESSIONS {
            self.sessions.clear();
        }
        self.sessions.extend(request.session);
        let outcome = self.announced(Trigger::Request);
        if request.confirm_s.is_some() && matches!(outcome, Err(Stopped::Unusable(_))) {
            // Nothing was changed, so there is nothing to take back.
            self.put_trial(before);
            self.tell_status();
        }
        self.reloaded(outcome)
    }

    /// From now on everything that is applied is on trial. One that is pending gets this time from now on, and goes
    /// back to where it began.
    fn begin_trial(&mut self, length: Duration) -> Result<(), Failure> {
        if length.is_zero() || length > LONGEST {
            let error = format!(
                "a confirmation can be waited for from 1 s to {} s",
                LONGEST.as_secs()
            );
            return Err(Failure::new(FailureKind::BadRequest, error));
        }
        let pending = self.state.trial.as_ref();
        let pending = pending.filter(|trial| trial.taken_back.is_none());
        let before = pending.map(|trial| trial.before.clone());
        let before = before.or_else(|| self.meshes.before().cloned());
        let Some(before) = before else {
            let error = "there is no state to go back to: nothing has been applied yet; reload without `--confirm`";
            return Err(Failure::new(FailureKind::Conflict, error));
        };
        let trial = Trial::begin(before, monotonic(), length);
        // Before anything is applied: a crash must not make it stay.
        if let Err(error) = self.trial_book.write(&trial) {
            let error = format!(
                "nothing was applied: a restart could not go back to the state before: {}",
                crate::log::chain(&error)
            );
            return Err(Failure::new(FailureKind::Failed, error));
        }
        info!(
            "on trial until {}, unless `kmesh-lite confirm` comes before",
            trial.until_at
        );
        self.state.trial = Some(trial);
        Ok(())
    }

    /// What is applied stays.
    pub(super) fn confirm(&mut self, caller: Caller) -> Result<Confirmed, Failure> {
        let nothing = |why: &str| {
            let error = format!("there is nothing to confirm: {why}");
            Err(Failure::new(FailureKind::Conflict, error))
        };
        let Some(trial) = self.state.trial.clone() else {
            return nothing("no reload waits for it");
        };
        let Some(left_s) = trial.seconds_left(monotonic()) else {
            return nothing(&self.state.verdict());
        };
        if let Err(error) = self.trial_book.cross_out() {
            let error = format!(
                "it is taken back nevertheless, because a restart would do so: {}",
                crate::log::chain(&error)
            );
            return Err(Failure::new(FailureKind::Failed, error));
        }
        info!(
            uid = caller.uid, pid = caller.pid.unwrap_or_default();
            "what was applied since {} is confirmed", trial.begun_at
        );
        self.state.trial = None;
        self.meshes.settle();
        self.tell_status();
        Ok(Confirmed {
            begun: trial.begun_at,
            left_s,
            verdict: self.state.verdict(),
        })
    }

    /// Nobody confirmed what was applied: back to the state before, whatever the file says now.
    pub(super) fn take_back(&mut self) {
        let Some(trial) = self.state.trial.clone() else {
            return;
        };
        let loaded = self.meshes.load();
        let Some(mesh) = self.meshes.load_other(&trial.before).mesh else {
            self.cannot_go_back();
            return;
        };
        if self.end_unconfirmed(&trial) {
            self.state.hold(mesh);
        }
        drop(self.follow(loaded, Trigger::Unconfirmed));
        self.meshes.keep_again(&trial.before);
    }

    /// Whether what was loaded last is what nobody confirmed. A signal does not ask for it to be applied: logrotate sends
    /// one at night, so that the access log is opened anew.
    pub(super) fn is_unconfirmed(&self, trigger: Trigger) -> bool {
        let trial = self.state.trial.as_ref();
        let back = trial.and_then(|trial| trial.taken_back.as_ref());
        trigger != Trigger::Request
            && back.is_some_and(|back| self.meshes.fragments().say_the_same_as(&back.file))
    }

    /// Something else is about to be applied, or the same because somebody asked for it.
    pub(super) fn forget_unconfirmed(&mut self) {
        let trial = self.state.trial.as_ref();
        if trial.is_some_and(|trial| trial.taken_back.is_some()) {
            self.put_trial(None);
        }
    }

    /// Whether there is something to take back: the file may have gone back by itself.
    fn end_unconfirmed(&mut self, trial: &Trial) -> bool {
        warn!(
            "nobody confirmed within {} s what was applied since {}: going back to the state before",
            trial.seconds(),
            trial.begun_at
        );
        let file = self.meshes.fragments().clone();
        if file.say_the_same_as(&trial.before) {
            self.put_trial(None);
            return false;
        }
        let taken_back = Some(TakenBack { at: now(), file });
        self.put_trial(Some(Trial {
            taken_back,
            ..trial.clone()
        }));
        true
    }

    /// Notes a trial, or that there is none any more. What cannot be written down counts until the daemon ends.
    fn put_trial(&mut self, trial: Option<Trial>) {
        let written = match &trial {
            Some(trial) => self.trial_book.write(trial),
            None if self.state.trial.is_some() => self.trial_book.cross_out(),
            None => Ok(()),
        };
        if let Err(error) = written {
            warn!(
                "the next start will not know how the trial ended: {}",
                crate::log::chain(&error)
            );
        }
        self.state.trial = trial;
    }

    fn cannot_go_back(&mut self) {
        error!(
            "nobody confirmed what was applied, but the configuration before is not valid on this host any more: what is applied stays"
        );
        self.put_trial(None);
    }
}
