//! The kernel side, as the daemon sees it: values in, values out.

use super::listeners::Listeners;
use crate::health::Fates;
use crate::kernel::{Accepted, Accounts, Ended, Listening, Living, Made, MomentsReader, Snapshot};
use crate::model::{Facts, Mesh};
use crate::reconcile::{Change, Extent, Pass};
use crate::tables::{Actual, Built, Remembered, Tables, Targets};
use kmesh_lite_common::{AuthorizationId, ClientKey, EndpointId, Interest};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    fn reconcile(
        &mut self,
        mesh: &Mesh,
        facts: &Facts,
        extent: Extent,
    ) -> Result<Pass, Self::Error>;

    /// Waits for what the next pass would otherwise have to wait for.
    fn quiesce(&mut self) {}

    /// Programs that `mesh`, the last one that was applied, treats specially and that have just
    /// begun to run, ahead of the pass that follows.
    fn greet(&mut self, mesh: &Mesh, facts: &Facts) -> Result<(), Self::Error>;

    /// What `reconcile` would do.
    fn change(&mut self, mesh: &Mesh, facts: &Facts) -> Result<Change, Self::Error>;

    /// Cgroups whose connects are handled: every program is attached to them, and no other is in its place.
    fn attached_to(&self) -> Result<Vec<PathBuf>, Self::Error>;

    /// The tables that the kernel holds.
    fn read(&mut self) -> Result<Actual, Self::Error>;

    /// The tables as the last pass left them; none where that is not known.
    fn left(&self) -> Option<Tables> {
        None
    }

    /// What the last pass left, with what it was made of; none where that is not known.
    fn built(&self) -> Option<Cow<'_, Built>> {
        None
    }

    /// The tables, with everything that there is to tell of them.
    fn snapshot(&mut self) -> Result<Snapshot, Self::Error>;

    /// What programs remember of these clients.
    fn remembered(&self, _keys: &[ClientKey]) -> Result<Remembered, Self::Error> {
        Ok(Remembered::default())
    }

    /// The connections that programs hold.
    fn connections(&self) -> Result<Vec<Living>, Self::Error>;

    /// What became of connections, but not what those that go on have done since it was asked last.
    fn accounts(&mut self) -> Result<Accounts, Self::Error> {
        Ok(Accounts::default())
    }

    /// How often authorization policies refused somebody, or would have.
    fn refused(&self, _tables: &Tables) -> Result<BTreeMap<AuthorizationId, u64>, Self::Error> {
        Ok(BTreeMap::new())
    }

    /// Connections over TCP that stand in the daemon's network namespace and have this port here, with their own address
    /// first.
    fn established(&self, port: u16) -> Result<Vec<(SocketAddr, SocketAddr)>, Self::Error>;

    /// Connections over TCP that have arrived in the daemon's network namespace, and stand.
    fn accepted(&self) -> Result<Vec<Accepted>, Self::Error> {
        Ok(Vec::new())
    }

    /// Connections that programs of this host made in the daemon's network namespace, and datagram sockets that are
    /// connected.
    fn made(&self) -> Result<Vec<Made>, Self::Error> {
        Ok(Vec::new())
    }

    /// Ends every connection of these endpoints, which nothing may choose any more.
    fn end(&mut self, _targets: &Targets) -> Result<Ended, Self::Error> {
        Ok(Ended::default())
    }

    /// Ends the sockets with these cookies: connections of the table, and others of the daemon's network namespace. Gives
    /// the cookies of those that it ended.
    fn end_sockets(
        &mut self,
        _listed: &BTreeSet<u64>,
        _others: &BTreeSet<u64>,
    ) -> Result<BTreeSet<u64>, Self::Error> {
        Ok(BTreeSet::new())
    }

    /// What became of connects to endpoints so far, without those through waypoints.
    fn fates(&mut self) -> Result<BTreeMap<EndpointId, Fates>, Self::Error> {
        Ok(BTreeMap::new())
    }

    /// Begins to tell `listeners` what programs tell of connections, for as long as the answer lives; none
    /// where they tell nothing.
    fn listen(&self, _listeners: Listeners) -> Result<Option<MomentsReader>, Self::Error> {
        Ok(None)
    }

    /// Makes programs tell these moments of connections, at once.
    fn tell(&mut self, _interest: Interest) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Leaves the connects of the agent alone, at once.
    fn set_agent(&mut self, _pid: u32) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Sends questions to DNS servers to the agent, which said just now that it answers at these addresses; none if it does
    /// not.
    fn hear_nameserver(&mut self, _listening: Option<Listening>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The part that has to be mended. It decides the exit code of `reload`, and whether a first pass that fails
    /// ends the daemon.
    fn blame(error: &Self::Error) -> Blame;
}

/// What has to change before a pass can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The file asks for what cannot be, such as more rows than a limit allows.
    Configuration,
    /// The kernel or the host: privileges, a foreign program in the way, memory.
    Host,
}
