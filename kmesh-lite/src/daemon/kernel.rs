//! The kernel as the daemon's datapath: its tables and counters in the words of the control socket.

use super::datapath::{Blame, Datapath, Pass};
use crate::api::{DatapathStatus, Dump, Explanation, PlanText};
use crate::kernel::{Kernel, KernelError};
use crate::model::{Mesh, Protocol};
use crate::reconcile::ReconcileError;
use crate::report::{dump, explain, status};
use std::net::SocketAddr;
use std::time::Instant;

impl Datapath for Kernel {
    type Error = KernelError;

    fn has_inherited(&self) -> bool {
        Kernel::has_inherited(self)
    }

    fn reconcile(&mut self, mesh: &Mesh) -> Result<Pass, KernelError> {
        let start = Instant::now();
        let pass = Kernel::reconcile(self, mesh)?;
        Ok(Pass {
            operations: pass.operations,
            summary: pass.words,
            drift: pass.drift,
            took: start.elapsed(),
        })
    }

    fn greet(&mut self, mesh: &Mesh) -> Result<(), KernelError> {
        Kernel::greet(self, mesh)
    }

    fn plan(&mut self, mesh: &Mesh) -> Result<PlanText, KernelError> {
        let prepared = self.prepare(mesh)?;
        Ok(PlanText {
            summary: prepared.words(),
            operations: prepared.plan.ops.iter().map(ToString::to_string).collect(),
        })
    }

    fn status(&mut self, mesh: &Mesh) -> Result<DatapathStatus, KernelError> {
        let tables = self.read()?.tables;
        let counters = self.counters(&tables)?;
        Ok(DatapathStatus {
            attached: self
                .attached()
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            callers: status::callers(self.cgroups(), mesh),
            services: status::services(&tables, &counters, mesh),
            outcomes: status::outcomes(&counters),
            capacity: status::capacity(&tables, &self.limits()),
        })
    }

    fn explain(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<Explanation, KernelError> {
        Ok(explain::explain(&self.read()?.tables, address, protocol))
    }

    fn dump(&mut self) -> Result<Dump, KernelError> {
        Ok(dump::dump(&self.read()?))
    }

    fn blame(error: &KernelError) -> Blame {
        match error {
            KernelError::Reconcile(ReconcileError::Build(_)) | KernelError::Cgroup(_) => {
                Blame::Configuration
            }
            _ => Blame::Host,
        }
    }
}
