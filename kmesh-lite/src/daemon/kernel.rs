//! The kernel as the daemon's datapath.

use super::datapath::{Blame, Datapath};
use super::listeners::Listeners;
use crate::health::Fates;
use crate::kernel::{
    Accepted, Accounts, Ended, Kernel, KernelError, Listening, Living, Made, MomentsReader,
    Snapshot,
};
use crate::model::{Facts, Mesh};
use crate::reconcile::{Change, Extent, Pass, ReconcileError};
use crate::tables::{Actual, Built, Remembered, Tables, Targets};
use kmesh_lite_common::{AuthorizationId, ClientKey, EndpointId, Interest};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

impl Datapath for Kernel {
    type Error = KernelError;

    fn has_inherited(&self) -> bool {
        Kernel::has_inherited(self)
    }

    fn reconcile(
        &mut self,
        mesh: &Mesh,
        facts: &Facts,
        extent: Extent,
    ) -> Result<Pass, KernelError> {
        Kernel::reconcile(self, mesh, facts, extent)
    }

    fn quiesce(&mut self) {
        Kernel::quiesce(self);
    }

    fn greet(&mut self, mesh: &Mesh, facts: &Facts) -> Result<(), KernelError> {
        Kernel::greet(self, mesh, facts)
    }

    fn change(&mut self, mesh: &Mesh, facts: &Facts) -> Result<Change, KernelError> {
        Kernel::change(self, mesh, facts)
    }

    fn attached_to(&self) -> Result<Vec<PathBuf>, KernelError> {
        Kernel::attached_to(self)
    }

    fn read(&mut self) -> Result<Actual, KernelError> {
        Kernel::read(self)
    }

    fn snapshot(&mut self) -> Result<Snapshot, KernelError> {
        Kernel::snapshot(self)
    }

    fn remembered(&self, keys: &[ClientKey]) -> Result<Remembered, KernelError> {
        Kernel::remembered(self, keys)
    }

    fn connections(&self) -> Result<Vec<Living>, KernelError> {
        Kernel::connections(self)
    }

    fn accounts(&mut self) -> Result<Accounts, KernelError> {
        Kernel::accounts_so_far(self)
    }

    fn refused(&self, tables: &Tables) -> Result<BTreeMap<AuthorizationId, u64>, KernelError> {
        Kernel::refused(self, tables)
    }

    fn established(&self, port: u16) -> Result<Vec<(SocketAddr, SocketAddr)>, KernelError> {
        Kernel::established(self, port)
    }

    fn accepted(&self) -> Result<Vec<Accepted>, KernelError> {
        Kernel::accepted(self)
    }

    fn made(&self) -> Result<Vec<Made>, KernelError> {
        Kernel::made(self)
    }

    fn end(&mut self, targets: &Targets) -> Result<Ended, KernelError> {
        Kernel::end(self, targets)
    }

    fn end_sockets(
        &mut self,
        listed: &BTreeSet<u64>,
        others: &BTreeSet<u64>,
    ) -> Result<BTreeSet<u64>, KernelError> {
        Kernel::end_sockets(self, listed, others)
    }

    fn listen(&self, listeners: Listeners) -> Result<Option<MomentsReader>, KernelError> {
        let moments = Kernel::moments(self)?;
        Ok(Some(moments.read(listeners).map_err(KernelError::Records)?))
    }

    fn tell(&mut self, interest: Interest) -> Result<(), KernelError> {
        Kernel::tell(self, interest)
    }

    fn fates(&mut self) -> Result<BTreeMap<EndpointId, Fates>, KernelError> {
        Kernel::fates(self)
    }

    fn set_agent(&mut self, pid: u32) -> Result<(), KernelError> {
        Kernel::set_agent(self, pid)
    }

    fn hear_nameserver(&mut self, listening: Option<Listening>) -> Result<(), KernelError> {
        Kernel::hear_nameserver(self, listening)
    }

    fn left(&self) -> Option<Tables> {
        Kernel::left(self).cloned()
    }

    fn built(&self) -> Option<Cow<'_, Built>> {
        Kernel::built(self).map(Cow::Borrowed)
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
