//! What there is to say without a daemon: the kernel goes on with what it holds.

use crate::api::{DatapathStatus, Dump, Explanation, Failure, FailureKind, State, Status};
use crate::kernel::{Observer, instance};
use crate::log::chain;
use crate::model::{Mesh, Protocol};
use crate::report::{dump, explain, status};
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

/// The tables of a daemon that does not run.
pub struct Unattended(Observer);

impl Unattended {
    /// Those of the daemon on this control socket; None if the kernel holds none, or may not be
    /// asked by this user.
    pub fn find(socket: &Path) -> Result<Option<Self>, Failure> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        let found = Observer::find(instance(socket)).map_err(|error| failed(&error))?;
        Ok(found.map(Self))
    }

    pub fn status(&mut self, name: Option<&str>) -> Result<Status, Failure> {
        let tables = self.0.read().map_err(|error| failed(&error))?.tables;
        let counters = self.0.counters(&tables).map_err(|error| failed(&error))?;
        let attached = self.0.attached().iter();
        let mut datapath = DatapathStatus {
            attached: attached.map(|path| path.display().to_string()).collect(),
            // What only the file knows stays unknown: localities, endpoints of weight 0, the units of
            // special callers.
            callers: Vec::new(),
            services: status::services(&tables, &counters, &Mesh::default()),
            outcomes: status::outcomes(&counters),
            capacity: status::capacity(&tables, &self.0.limits()),
        };
        let verdict = format!(
            "the daemon is not running; the kernel goes on with {} services over {} endpoints",
            datapath.services.len(),
            datapath.endpoints()
        );
        datapath.show_only(name)?;
        Ok(Status {
            state: State::Unattended,
            verdict,
            failure: None,
            config: None,
            last_reload: None,
            last_pass: None,
            datapath,
            daemon: None,
        })
    }

    pub fn explain(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<Explanation, Failure> {
        let actual = self.0.read().map_err(|error| failed(&error))?;
        Ok(explain::explain(&actual.tables, address, protocol))
    }

    pub fn dump(&mut self) -> Result<Dump, Failure> {
        let actual = self.0.read().map_err(|error| failed(&error))?;
        Ok(dump::dump(&actual))
    }
}

fn failed(error: &dyn Error) -> Failure {
    Failure::new(FailureKind::Failed, chain(error))
}
