//! The safety belt: what is loaded is not applied where its policies would cut off somebody who must not be.

use super::state::{Refusal, Unusable};
use super::{Daemon, Trigger};
use crate::api::Session;
use crate::config::Loaded;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::monotonic;
use crate::model::Mesh;
use crate::tables::{Lockout, Way, can_lock_out, lockouts, probes};
use log::{debug, warn};
use std::io;

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

    /// What is refused once stays so until the file says something else or somebody asks for a reload, also when the
    /// connection that it was refused for has ended.
    fn locks_out(&mut self, mesh: &Mesh, trigger: Trigger) -> bool {
        let refusal = self.state.refusal.take();
        if trigger != Trigger::Request
            && let Some(refusal) = refusal
            && refusal.file.say_the_same_as(self.meshes.fragments())
        {
            self.state.refusal = Some(refusal);
            return true;
        }
        // What counts already is no change, whoever has connected meanwhile.
        if self.meshes.is_applied() {
            return false;
        }
        let lockouts = self.lockouts(mesh, self.session);
        if lockouts.is_empty() {
            return false;
        }
        self.state.refusal = Some(Refusal {
            file: self.meshes.fragments().clone(),
            lockouts,
        });
        true
    }

    /// The policies of a mesh as it is written that are in the way of the operator or of the agent. `session` is the
    /// connection of whoever asks.
    pub(super) fn lockouts(&mut self, written: &Mesh, session: Option<Session>) -> Vec<Lockout> {
        if !can_lock_out(written) {
            return Vec::new();
        }
        let applied = self.state.applied.as_deref();
        let mut names = self.state.names.clone();
        let mesh = names.apply(written.clone(), applied, monotonic());
        let mut ways = self.sessions(session).unwrap_or_else(|error| {
            warn!(
                "cannot list the connections to this host, so none of them is looked after: {error}"
            );
            Vec::new()
        });
        ways.extend(probes(&mesh, &self.meshes.host.own_addresses));
        lockouts(&mesh, applied, &ways).unwrap_or_else(|error| {
            debug!("the pass tells why: {error}");
            Vec::new()
        })
    }

    /// The connections of operators that stand: all to the port of SSH, and that of whoever asks.
    fn sessions(&self, session: Option<Session>) -> io::Result<Vec<Way>> {
        let mut ways = self.datapath.established(SSH)?;
        if let Some(session) = session
            && session.local.port() != SSH
        {
            // A terminal multiplexer may remember a connection that has ended.
            let of_port = self.datapath.established(session.local.port())?;
            let own = of_port.into_iter();
            ways.extend(own.filter(|ends| *ends == (session.local, session.peer)));
        }
        ways.sort();
        let ways = ways.into_iter();
        Ok(ways
            .map(|(local, peer)| Way::Session { local, peer })
            .collect())
    }
}
