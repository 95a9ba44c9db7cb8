//! What becomes of connections that stand and that a pass refuses.

use super::Daemon;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::report::{LiveConnections, ends_any, outlawed};
use crate::tables::Tables;
use log::{info, warn};

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// After a pass: ends the connections that policies with `enforce_existing` allow no more.
    pub(super) fn end_outlawed(&mut self) {
        let Some(mesh) = self.state.applied.clone().filter(|mesh| ends_any(mesh)) else {
            self.judged = None;
            return;
        };
        let Some(tables) = self.tables() else { return };
        let is_judged = |before: &Tables| before.says_the_same(&tables);
        if self.judged.as_ref().is_some_and(is_judged) {
            return;
        }
        let ended = self.end_those(&mesh, &tables);
        match ended {
            Ok(()) => self.judged = Some(tables),
            Err(error) => warn!(
                "cannot end the connections that policies allow no more: {}",
                crate::log::chain(&error)
            ),
        }
    }

    fn end_those(&mut self, mesh: &crate::model::Mesh, tables: &Tables) -> Result<(), D::Error> {
        let connections = self.datapath.connections()?;
        let ids = connections.iter().map(|it| it.connection.cgroup);
        let lineages = self.units.cgroups().lineages(ids);
        let accepted = match mesh.judges_arrivals() {
            true => self.datapath.accepted()?,
            false => Vec::new(),
        };
        let live = LiveConnections {
            connections: &connections,
            lineages: &lineages,
            accepted: &accepted,
        };
        let outlawed = outlawed(tables, mesh, &live);
        if outlawed.is_empty() {
            return Ok(());
        }
        let outbound = outlawed.outbound.keys().copied().collect();
        let inbound = outlawed.inbound.keys().copied().collect();
        let ended = self.datapath.end_sockets(&outbound, &inbound)?;
        for (policy, count) in outlawed.by_policy(&ended) {
            info!("policy {policy} allows {count} connections no more that stood: they were ended");
        }
        let all = outlawed.outbound.len() + outlawed.inbound.len();
        if all > ended.len() {
            let left = all - ended.len();
            warn!(
                "{left} connections that policies allow no more go on: they were over, or are in other network namespaces"
            );
        }
        self.state.history.killed += ended.len() as u64;
        Ok(())
    }
}
