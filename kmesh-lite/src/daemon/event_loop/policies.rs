//! Answers about authorization policies.

use super::Daemon;
use super::answer::failed;
use crate::api::{Failure, Policies};
use crate::control::Later;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::Cgroups;
use crate::report;

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
}
