//! Who wants to know what the agent is asked.

use super::{Daemon, crowded};
use crate::api::{Failure, QueriesReport};
use crate::control::{Later, QueryFilter, TraceDns};
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::report;

/// Of a mesh whose names nobody answers.
const NOT_SERVED: &str = "the mesh has no `[dns] listen`, and no `capture`: nobody answers names, so nothing is shown until it has";

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// A reader of what the agent is asked, if there is room for one.
    pub(super) fn join_queries(
        &mut self,
        filter: QueryFilter,
        is_own: bool,
    ) -> Result<TraceDns, Failure> {
        let is_served = self.state.published.serving().is_some();
        let service = filter.service.clone();
        let joined = self.listeners.join_queries(filter, is_own, is_served);
        self.ask_for_queries();
        let (lines, begun) = joined.map_err(crowded)?;
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.cloned().unwrap_or_default();
        let warnings = Later::new(move || {
            let mut warnings = report::not_there(&mesh, service.as_deref(), None, None);
            warnings.extend((!is_served).then(|| NOT_SERVED.to_owned()));
            Ok(warnings)
        });
        Ok(TraceDns {
            lines,
            warnings,
            begun,
        })
    }

    /// Has the agent tell what it is asked, as long as somebody wants to know.
    pub(super) fn ask_for_queries(&mut self) {
        let is_wanted = self.listeners.wants_queries();
        self.state.roster.trace(is_wanted, &self.state.health);
    }

    /// Tells readers what the agent was asked, where that keeps nobody waiting.
    pub(super) fn tell_queries(&mut self, report: QueriesReport) -> Later<()> {
        // Somebody may have gone before there was an answer.
        self.ask_for_queries();
        let (listeners, owners) = (self.listeners.clone(), self.state.published.owners());
        Later::new(move || {
            listeners.tell_queries(report, &owners);
            Ok(())
        })
    }
}
