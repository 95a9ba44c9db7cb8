//! Connections of drained endpoints that the operator wants to end.

use super::Daemon;
use super::answer::failed;
use super::order::title;
use crate::api::{Failure, FailureKind, KillRequest, Killed, KilledEndpoint};
use crate::control::Caller;
use crate::daemon::datapath::Datapath;
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::report::{count, titles};
use log::info;
use std::collections::{BTreeMap, BTreeSet};

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// Ends the connections of endpoints. The tables have to be without them, or connects go on coming.
    pub(super) fn kill(
        &mut self,
        request: &KillRequest,
        caller: Caller,
    ) -> Result<Killed, Failure> {
        let not_found = |error: String| Failure::new(FailureKind::NotFound, error);
        let mesh = self.state.applied.clone();
        let mesh = mesh.ok_or_else(|| not_found("there is no mesh yet".to_owned()))?;
        let meant = mesh.endpoints_named(&request.endpoint);
        let meant = meant.map_err(|error| not_found(error.to_string()))?;
        let meant: BTreeSet<_> = meant
            .iter()
            .map(|(name, endpoint)| (name.to_string(), title(&mesh, name, endpoint)))
            .collect();
        let tables = self.tables().ok_or_else(|| {
            Failure::new(FailureKind::Failed, "the kernel's tables cannot be read")
        })?;
        let mut endpoints = BTreeMap::new();
        for (id, titled) in titles(&tables, |_| true) {
            let name = (titled.service, titled.endpoint);
            if !meant.contains(&name) {
                continue;
            }
            if !titled.is_drained {
                let error = format!(
                    "{}/{} takes new connections; drain it first",
                    name.0, name.1
                );
                return Err(Failure::new(FailureKind::Conflict, error));
            }
            endpoints.insert(id, name);
        }
        let ids = endpoints.keys().copied().collect();
        let ended = self
            .datapath
            .end(&tables.targets(&ids))
            .map_err(failed::<D>)?;
        self.state.history.killed += ended.killed.values().sum::<u64>();
        let endpoints = endpoints.into_iter().map(|(id, (service, endpoint))| {
            let of = |counts: &BTreeMap<_, u64>| counts.get(&id).copied().unwrap_or(0);
            let (killed, out_of_reach) = (of(&ended.killed), of(&ended.out_of_reach));
            info!(
                uid = caller.uid, pid = caller.pid.unwrap_or_default();
                "on request, {service}/{endpoint} lost {}", count(killed as usize, "connection")
            );
            KilledEndpoint {
                service,
                endpoint,
                killed,
                out_of_reach,
            }
        });
        Ok(Killed {
            endpoints: endpoints.collect(),
        })
    }
}
