//! What the kernel holds at a moment, as values.

use super::connections::Living;
use super::sock_diag::SockDiag;
use super::standing::{Accepted, Made};
use super::traffic::Accounts;
use super::{Kernel, KernelError};
use crate::health::Fates;
use crate::model::Limits;
use crate::tables::{Actual, Counters, Remembered, Tables};
use kmesh_lite_common::{AuthorizationId, ClientKey, EndpointId};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What the kernel holds at the moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Which versions of rows count.
    pub generation: u64,
    pub tables: Tables,
    pub counters: Counters,
    /// How many rows the tables that there are have room for. A larger mesh gets others.
    pub room: Limits,
    /// Cgroups that the programs are attached to.
    pub attached: Vec<PathBuf>,
    /// The connections that programs of these cgroups hold.
    pub connections: Vec<Living>,
    /// What became of connections.
    pub accounts: Accounts,
    /// How often programs ran, as far as somebody has the kernel count that.
    pub runs: Vec<Runs>,
}

/// How often a program ran, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Its hook.
    pub program: &'static str,
    pub count: u64,
    pub time: Duration,
}

impl Kernel {
    /// Reads all tables and their counters.
    pub fn snapshot(&mut self) -> Result<Snapshot, KernelError> {
        let Actual {
            generation, tables, ..
        } = self.read()?;
        Ok(Snapshot {
            generation,
            counters: self.object.maps.counters(&tables)?,
            room: self.object.maps.room(),
            attached: self.attached_to()?,
            connections: self.connections()?,
            accounts: self.accounts()?,
            runs: self.object.runs()?,
            tables,
        })
    }

    /// Cgroups whose connects are handled: every program is attached to them, and no other is in its place.
    pub fn attached_to(&self) -> Result<Vec<PathBuf>, KernelError> {
        let attached = self.links.read(&self.object)?;
        Ok(attached.whole().into_iter().collect())
    }

    /// The connections in the connection table.
    pub fn connections(&self) -> Result<Vec<Living>, KernelError> {
        let living = self.object.maps.living();
        living.map_err(KernelError::Connections)
    }

    /// How often authorization policies refused somebody, or would have.
    pub fn refused(&self, tables: &Tables) -> Result<BTreeMap<AuthorizationId, u64>, KernelError> {
        Ok(self.object.maps.refused(tables)?)
    }

    /// What is remembered of these clients.
    pub fn remembered(&self, keys: &[ClientKey]) -> Result<Remembered, KernelError> {
        let remembered = self.object.maps.remembered(keys);
        remembered.map_err(KernelError::Clients)
    }

    /// What became of the connections that were accounted, and what those that go on have done so far.
    pub fn accounts(&self) -> Result<Accounts, KernelError> {
        if let Some(sweep) = &self.object.sweep
            && let Err(error) = sweep.run()
        {
            // What has ended is told in any case.
            log::warn!("cannot look at connections that go on: {error}");
        }
        self.accounts_so_far()
    }

    /// The same without a look at those that go on.
    pub fn accounts_so_far(&self) -> Result<Accounts, KernelError> {
        let accounts = self.object.maps.accounts();
        accounts.map_err(KernelError::Connections)
    }

    /// Connections over TCP that stand in the daemon's network namespace and have this port here, with their own address
    /// first.
    pub fn established(&self, port: u16) -> Result<Vec<(SocketAddr, SocketAddr)>, KernelError> {
        let established = SockDiag::open().and_then(|mut diag| diag.established(port));
        established.map_err(KernelError::Connections)
    }

    /// Connections over TCP that have arrived in the daemon's network namespace, and stand.
    pub fn accepted(&self) -> Result<Vec<Accepted>, KernelError> {
        let accepted = SockDiag::open().and_then(|mut diag| diag.accepted());
        accepted.map_err(KernelError::Connections)
    }

    /// Connections that programs of this host made in the daemon's network namespace, and datagram sockets that are
    /// connected.
    pub fn made(&self) -> Result<Vec<Made>, KernelError> {
        let made = SockDiag::open().and_then(|mut diag| diag.made());
        made.map_err(KernelError::Connections)
    }

    /// What became of connects to endpoints so far, without those through waypoints.
    pub fn fates(&self) -> Result<BTreeMap<EndpointId, Fates>, KernelError> {
        self.object.maps.fates().map_err(KernelError::Connections)
    }

    /// Whether the kernel shows what connections that go on have done.
    pub fn sees_living(&self) -> bool {
        self.object.sweep.is_some()
    }
}
