//! Which connections stand, for whoever judges them.

use super::Daemon;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::hooks::captured;
use crate::model::{Facts, Mesh};
use crate::report::LiveConnections;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// The connections that stand, as far as the policies of a mesh ask for them.
    pub(super) fn live(&self, mesh: &Mesh, facts: &Facts) -> Result<LiveConnections, D::Error> {
        let listed = self.datapath.connections()?;
        let made = match mesh.guarded_against_clients().is_empty() {
            true => Vec::new(),
            false => self.datapath.made()?,
        };
        let accepted = match mesh.judges_arrivals() {
            true => self.datapath.accepted()?,
            false => Vec::new(),
        };
        // Only policies ask where a program runs.
        let asks = !mesh.policies.is_empty();
        let of_listed = listed.iter().map(|it| it.connection.cgroup);
        let ids = of_listed.chain(made.iter().filter_map(|it| it.cgroup));
        let lineages = self.units.cgroups().lineages(ids.filter(|_| asks));
        let captured = captured(mesh, facts).into_iter().map(|it| it.id).collect();
        Ok(LiveConnections {
            listed,
            made,
            accepted,
            lineages,
            captured,
        })
    }
}
