//! What becomes of connections that stand and that a pass refuses.

use super::Daemon;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::model::Mesh;
use crate::report::{self, ends_any, outlawed};
use crate::tables::Tables;
use log::{info, warn};
use std::collections::BTreeMap;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// After a pass: ends the connections that policies with `enforce_existing` allow no more. Gives how many, by policy.
    pub(super) fn end_outlawed(&mut self) -> BTreeMap<String, u64> {
        let Some(mesh) = self.state.applied.clone().filter(|mesh| ends_any(mesh)) else {
            self.judged = None;
            return BTreeMap::new();
        };
        let Some(tables) = self.tables() else {
            return BTreeMap::new();
        };
        let is_judged = |before: &Tables| before.says_the_same(&tables);
        if self.judged.as_ref().is_some_and(is_judged) {
            return BTreeMap::new();
        }
        match self.end_those(&mesh, &tables) {
            Ok(ended) => {
                self.judged = Some(tables);
                ended
            }
            Err(error) => {
                warn!(
                    "cannot end the connections that policies allow no more: {}",
                    crate::log::chain(&error)
                );
                BTreeMap::new()
            }
        }
    }

    fn end_those(
        &mut self,
        mesh: &Mesh,
        tables: &Tables,
    ) -> Result<BTreeMap<String, u64>, D::Error> {
        let live = self.live(mesh, &self.state.facts)?;
        let outlawed = outlawed(tables, mesh, &live);
        if outlawed.is_empty() {
            return Ok(BTreeMap::new());
        }
        let listed = outlawed.listed.keys().copied().collect();
        let others = outlawed.others.keys().copied().collect();
        let ended = self.datapath.end_sockets(&listed, &others)?;
        let by_policy = outlawed.by_policy(&ended);
        for (policy, count) in &by_policy {
            let ended = report::count(*count as usize, "connection");
            info!("policy {policy}: ended {ended} that it refuses now");
        }
        let all = outlawed.listed.len() + outlawed.others.len();
        if all > ended.len() {
            let left = all - ended.len();
            warn!(
                "{left} connections that policies allow no more go on: they were over, or are in other network namespaces"
            );
        }
        self.state.history.killed += ended.len() as u64;
        Ok(by_policy)
    }
}
