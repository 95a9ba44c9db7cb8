//! Answers about authorization policies.

use super::Daemon;
use super::answer::failed;
use crate::api::{Failure, Policies, Suggestion};
use crate::control::Later;
use crate::daemon::datapath::Datapath;
use crate::daemon::last_seen::LastSeen;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::{Cgroups, monotonic};
use crate::kernel::Accounts;
use crate::model::Mesh;
use crate::report::{self, Seen, Served, Sight};
use log::warn;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Where this host serves, for a mesh and addresses: there may be a million endpoints to look at.
#[derive(Default)]
pub struct ServedOf {
    mesh: Option<Arc<Mesh>>,
    own_addresses: BTreeSet<IpAddr>,
    served: Served,
}

impl ServedOf {
    fn new(mesh: &Arc<Mesh>, own_addresses: &BTreeSet<IpAddr>) -> Self {
        Self {
            mesh: Some(Arc::clone(mesh)),
            own_addresses: own_addresses.clone(),
            served: Served::of(mesh, own_addresses),
        }
    }

    fn is_of(&self, mesh: &Arc<Mesh>, own_addresses: &BTreeSet<IpAddr>) -> bool {
        let is_same = self.mesh.as_ref().is_some_and(|it| Arc::ptr_eq(it, mesh));
        is_same && self.own_addresses == *own_addresses
    }
}

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    pub(super) fn policies(&mut self, name: Option<String>) -> Result<Later<Policies>, Failure> {
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned();
        let facts = self.state.facts.clone();
        Ok(Later::new(move || {
            // There may be thousands of cgroups to look at.
            let ids = report::cgroups_of_clients(&snapshot, &facts).into_iter();
            let lineages = Cgroups::find().map(|it| it.lineages(ids));
            let lineages = lineages.unwrap_or_default();
            report::policies(
                &snapshot,
                mesh.as_deref(),
                &facts,
                &lineages,
                name.as_deref(),
            )
        }))
    }

    /// Whom an earlier process saw, and where this one keeps that for the next.
    pub fn remember_clients(&mut self, last_seen: LastSeen, seen: Seen) {
        self.last_seen = Some(last_seen);
        self.seen = seen;
    }

    /// Takes in who has connected to what since the last look.
    pub(super) fn look_at_clients(&mut self) {
        let Some(tables) = self.tables() else { return };
        let looked = (self.datapath.accounts(), self.datapath.connections());
        let (accounts, living) = match looked {
            (Ok(accounts), Ok(living)) => (accounts, living),
            (Err(error), _) | (_, Err(error)) => {
                warn!("cannot look who connects: {}", crate::log::chain(&error));
                return;
            }
        };
        let now = monotonic();
        if let Ok(refused) = self.datapath.refused(&tables) {
            self.refusals.look(&tables, &refused, now);
        }
        let unknown = self.seen.unknown(&accounts, &living);
        let paths = self.units.cgroups().paths(unknown);
        let before = self.seen.clone();
        self.look_at_arrivals(&accounts, now);
        self.seen.look(&tables, &accounts, &living, paths, now);
        if let Some(last) = &mut self.last_seen
            && self.seen != before
        {
            last.keep(&self.seen);
        }
    }

    /// Takes in where connections came from that arrived at endpoints on this host, if there are any.
    fn look_at_arrivals(&mut self, accounts: &Accounts, now: u64) {
        let Some(mesh) = &self.state.applied else {
            return;
        };
        let own = &self.state.facts.own_addresses;
        if !self.served.is_of(mesh, own) {
            self.served = ServedOf::new(mesh, own);
        }
        let served = &self.served.served;
        if served.is_empty() {
            return;
        }
        let standing = self.datapath.accepted().unwrap_or_else(|error| {
            warn!(
                "cannot look at what has arrived: {}",
                crate::log::chain(&error)
            );
            Vec::new()
        });
        self.seen
            .look_at_arrivals(served, &accounts.arrivals, &standing, now);
    }

    pub(super) fn suggest(&mut self, within: Option<u64>) -> Result<Later<Suggestion>, Failure> {
        self.look_at_clients();
        let now = monotonic();
        self.state.base = self.state.base.kept(now);
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned().unwrap_or_default();
        let (seen, facts, base) = (self.seen.clone(), self.state.facts.clone(), self.state.base);
        let accounting = self.tables().is_some_and(|tables| tables.accounting);
        Ok(Later::new(move || {
            Ok(report::suggest(&Sight {
                seen: &seen,
                mesh: &mesh,
                facts: &facts,
                within,
                accounting,
                now,
                base,
            }))
        }))
    }
}
