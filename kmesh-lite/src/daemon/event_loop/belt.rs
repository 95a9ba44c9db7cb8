//! The safety belt: what is loaded is not applied where its policies would cut off somebody who must not be.

use super::state::Unusable;
use super::{Daemon, Trigger};
use crate::api::Session;
use crate::config::Loaded;
use crate::daemon::datapath::Datapath;
use crate::daemon::refusal::{Refusal, RefusalBook};
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::monotonic;
use crate::model::Mesh;
use crate::report;
use crate::tables::{Lockout, Way, can_lock_out, lockouts, probes};
use log::{debug, warn};
use std::collections::BTreeSet;

/// Where operators come in, unless they come in elsewhere.
const SSH: u16 = 22;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// What speaks against applying what was loaded last, though it has no error.
    pub(super) fn against(&mut self, loaded: &Loaded, trigger: Trigger) -> Option<Unusable> {
        let mesh = loaded.mesh.as_ref()?;
        if self.is_unconfirmed(trigger) {
            return Some(Unusable::Unconfirmed);
        }
        if self.locks_out(mesh, trigger) {
            return Some(Unusable::LocksOut);
        }
        self.forget_unconfirmed();
        None
    }

    /// Where it is written down what is refused, and what an earlier process refused.
    pub fn still_refuse(&mut self, refusal_book: RefusalBook) {
        self.state.refusal = refusal_book.read();
        self.refusal_book = refusal_book;
    }

    /// At the start: what is applied in the place of a file that is refused, as the process before had it, or what is
    /// written down.
    pub(super) fn resume_refusal(&mut self, loaded: &Loaded) {
        if self.state.mesh.is_some() || self.against(loaded, Trigger::Start).is_none() {
            return;
        }
        let mut before = self.meshes.load_applied();
        let refusal = self.state.refusal.as_ref();
        if let Some(written) = refusal.and_then(|refusal| refusal.before.clone())
            && before.is_none()
        {
            before = self.meshes.load_other(&written).mesh;
            self.meshes.keep_again(&written);
        }
        if let Some(before) = before {
            self.state.hold(before);
        }
    }

    fn locks_out(&mut self, mesh: &Mesh, trigger: Trigger) -> bool {
        if trigger != Trigger::Request
            && let Some(refusal) = &self.state.refusal
            && refusal.file.say_the_same_as(self.meshes.fragments())
        {
            return true;
        }
        // What counts already is no change, whoever has connected meanwhile; and nobody keeps us from going back.
        let lockouts = match self.meshes.is_applied() || trigger == Trigger::Unconfirmed {
            true => Vec::new(),
            false => self.lockouts(mesh, None),
        };
        let refusal = (!lockouts.is_empty()).then(|| Refusal {
            file: self.meshes.fragments().clone(),
            before: self.meshes.applied().cloned(),
            lockouts: report::lockouts(&lockouts),
        });
        let written = match &refusal {
            Some(refusal) => self.refusal_book.write(refusal),
            None if self.state.refusal.is_some() => self.refusal_book.cross_out(),
            None => Ok(()),
        };
        if let Err(error) = written {
            warn!(
                "the next start will not know what was refused: {}",
                crate::log::chain(&error)
            );
        }
        self.state.refusal = refusal;
        self.state.refusal.is_some()
    }

    /// The policies of a mesh as it is written that are in the way of operators or of the agent. `asker` is the
    /// connection of one who asks.
    pub(super) fn lockouts(&mut self, written: &Mesh, asker: Option<Session>) -> Vec<Lockout> {
        if !can_lock_out(written) {
            return Vec::new();
        }
        let mut ways = self.standing(asker).unwrap_or_else(|error| {
            warn!(
                "cannot list the connections to this host, so none of them is looked after: {}",
                crate::log::chain(&error)
            );
            Vec::new()
        });
        let applied = self.state.applied.as_deref();
        let mut names = self.state.names.clone();
        let mesh = names.apply(written.clone(), applied, monotonic());
        ways.extend(probes(&mesh, &self.meshes.host.own_addresses));
        lockouts(&mesh, applied, &ways).unwrap_or_else(|error| {
            debug!("the pass tells why: {error}");
            Vec::new()
        })
    }

    /// The connections of operators that stand: all to the port of SSH, and those of who has asked for a reload. One that
    /// has ended may be remembered by a terminal multiplexer.
    fn standing(&mut self, asker: Option<Session>) -> Result<Vec<Way>, D::Error> {
        let sessions = self.sessions.iter().copied().chain(asker);
        let sessions: BTreeSet<_> = sessions.map(|it| (it.local, it.peer)).collect();
        let mut ports: BTreeSet<_> = sessions.iter().map(|(local, _)| local.port()).collect();
        ports.insert(SSH);
        let mut standing = BTreeSet::new();
        for port in ports {
            let ends = self.datapath.established(port)?.into_iter();
            standing.extend(ends.filter(|it| port == SSH || sessions.contains(it)));
        }
        self.sessions
            .retain(|it| standing.contains(&(it.local, it.peer)));
        let ways = standing.into_iter();
        Ok(ways
            .map(|(local, peer)| Way::Session { local, peer })
            .collect())
    }
}
