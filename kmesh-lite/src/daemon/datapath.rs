//! The kernel side, as the daemon sees it.

use crate::api::{DatapathStatus, Dump, Explanation, PlanText};
use crate::model::{Mesh, Protocol};
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

/// Makes the kernel do what a mesh says. Dropping it lets go of every kernel object it holds.
pub trait Datapath {
    type Error: Error + Send + Sync + 'static;

    /// Whether connects are still handled by what an earlier process left.
    fn has_inherited(&self) -> bool {
        false
    }

    /// One pass: read, plan, apply, adjust what is attached. After an error the kernel holds the
    /// state before the pass, or one between the two that the next pass repairs; never a mixture
    /// that a connect could see.
    fn reconcile(&mut self, mesh: &Mesh) -> Result<Pass, Self::Error>;

    /// Programs that `mesh`, the last one that was applied, treats specially and that have just
    /// begun to run, ahead of the pass that follows.
    fn greet(&mut self, mesh: &Mesh) -> Result<(), Self::Error>;

    /// What `reconcile` would do.
    fn plan(&mut self, mesh: &Mesh) -> Result<PlanText, Self::Error>;

    /// What the kernel holds, in the words of `mesh`: the last one that was applied, or an empty one.
    fn status(&mut self, mesh: &Mesh) -> Result<DatapathStatus, Self::Error>;

    /// What the kernel would do with a connect.
    fn explain(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<Explanation, Self::Error>;

    fn dump(&mut self) -> Result<Dump, Self::Error>;

    /// Who can mend it. Decides the exit code of `reload`, and whether a first pass that fails
    /// ends the daemon.
    fn blame(error: &Self::Error) -> Blame {
        let _ = error;
        Blame::Host
    }
}

/// What has to change before a pass can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The file asks for what cannot be, such as more rows than a limit allows.
    Configuration,
    /// The kernel or the host: privileges, a foreign program in the way, memory.
    Host,
}

/// What one pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    pub operations: usize,
    /// In words, one line for each thing that changed.
    pub summary: Vec<String>,
    /// What differed from what was last written, one line each.
    pub drift: Vec<String>,
    pub took: Duration,
}
