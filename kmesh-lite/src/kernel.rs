//! The kernel side: programs loaded, tables mapped, links made.
//!
//! In: meshes and facts, through [`Kernel::reconcile`]. Out: maps and links, which nothing else writes
//! to; snapshots and records, which are values. The rest of the system meets the kernel here and
//! nowhere else.

mod address_bits;
mod bpf;
mod clients;
mod connections;
mod counters;
mod destroy;
mod fault;
mod fields;
mod inherited;
mod keys;
mod links;
mod maps;
mod moments;
mod object;
mod observer;
mod open;
mod options;
mod port;
mod probe;
mod records;
mod rows;
mod server_first;
mod snapshot;
mod sock_diag;
mod standing;
mod store;
mod sweep;
mod traffic;

pub use connections::Living;
pub use destroy::Ended;
pub use inherited::Descriptors;
pub use links::HookError;
pub use maps::Listening;
pub use moments::{Hear, Moments, MomentsReader};
pub use object::{Abilities, LoadError};
pub use observer::{ObserveError, Observer, Owner, owners};
pub use options::{KernelOptions, instance};
pub use probe::{
    AtHook, Level, at_hooks, has_bpf, has_loopback, has_membarrier, kept_for, names, probe,
};
pub use records::{Reader, Records};
pub use server_first::{NotHelped, Sink};
pub use snapshot::{Runs, Snapshot};
pub use standing::{Accepted, Made};
pub use store::{NoStore, Store};
pub use traffic::Accounts;

use crate::hooks::{self, Wanted};
use crate::host::{self, CgroupError, Cgroups, MissingCapabilities};
use crate::maps::{Maps, MapsError};
use crate::model::{Facts, Limits, Mesh};
use crate::plan::Op;
use crate::reconcile::{self, Change, Extent, Left, Pass, ReconcileError};
use crate::tables::{self, Actual, Built, IdMap, Services, Tables, Targets};
use inherited::Inherited;
use kmesh_lite_common::{Interest, Service, ServiceId};
use links::Links;
use object::{Object, Reuse};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use store::{Group, Name, keep_group};

/// A mesh in the kernel.
pub struct Kernel {
    cgroups: Cgroups,
    options: KernelOptions,
    object: Object,
    links: Links,
    /// Names under which the store keeps the tables; none before they hold a mesh.
    tables_kept: Vec<Name>,
    /// Tables of an earlier process that are of no use once every link is switched.
    superseded: Vec<Name>,
    /// What the last successful pass left behind: any difference to it is drift.
    left: Option<Left>,
    /// What programs tell of sockets, until somebody takes it.
    records: Option<Records>,
}

/// Why the kernel does not follow.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(transparent)]
    Capabilities(#[from] MissingCapabilities),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error("cannot listen to the programs")]
    Records(#[source] std::io::Error),
    #[error("cannot read the connection table")]
    Connections(#[source] std::io::Error),
    #[error("cannot read what is remembered of clients")]
    Clients(#[source] std::io::Error),
    #[error("cannot say which questions to DNS servers are captured")]
    Capture(#[source] std::io::Error),
    #[error("cannot end connections")]
    End(#[source] std::io::Error),
}

impl From<MapsError> for KernelError {
    fn from(error: MapsError) -> Self {
        Self::Reconcile(error.into())
    }
}

impl Kernel {
    /// Loads the programs with tables that have this room. Nothing is attached before the first pass.
    pub fn load(room: Limits, options: KernelOptions) -> Result<Self, KernelError> {
        Self::take_over(room, options, Descriptors::new())
    }

    /// Loads the programs, and goes on from where an earlier process ended: `left` is what the store
    /// kept. Connects are handled without a gap.
    ///
    /// Tables of this version are used as they are, whatever room they have. Others stay in charge until the
    /// first pass has filled new ones; so do those of which something is missing. Sockets that earlier programs
    /// redirected keep their peer name in any case.
    pub fn take_over(
        room: Limits,
        mut options: KernelOptions,
        left: Descriptors,
    ) -> Result<Self, KernelError> {
        host::check()?;
        let cgroups = Cgroups::find()?;
        let mut left = Inherited::sort(left);
        let load = |left: &Inherited| {
            let reuse = Reuse {
                tables: left.tables.as_ref().map(|set| &set.maps),
                sockets: left.sockets.as_ref().map(|set| &set.maps),
            };
            Object::load(&room, &options.limits, options.settings(), reuse)
        };
        let object = match load(&left) {
            Err(misfit @ LoadError::Misfit { .. }) => {
                log::warn!("{misfit}: starting with new tables");
                left.give_up_maps();
                load(&left)
            }
            loaded => loaded,
        };
        let mut object = object?;
        let sink = Sink::open().map_err(KernelError::Records)?;
        object.set_sink(sink.as_fd())?;
        let records = Records::new(object.events()?, sink);
        let store = Arc::clone(&options.store);
        let mut links = Links::new(Arc::clone(&store));
        let (familiar, filled) = (left.sockets.is_some(), left.tables.is_some());
        if !left.links.is_empty() {
            log::info!(
                "taking over {} links of the process before{}",
                left.links.len(),
                if filled {
                    ", and its tables"
                } else {
                    "; its tables are of another layout, or not whole: they stay in charge until new ones are filled"
                }
            );
        }
        links.inherit(left.links, familiar, &cgroups);
        if !familiar {
            keep_group(&*store, Group::Sockets, object.sockets());
        }
        if filled {
            // What ends before somebody listens is told as before; who only looked on has gone.
            options.interest = Interest(object.maps.interest()?.0 & Interest::ENDS.0);
            object.maps.mend_settings(options.settings())?;
        }
        if filled && familiar {
            // From now on they run what this version does, whatever the file is like.
            links.switch_all(&mut object)?;
        }
        for name in &left.foreign {
            store::release(&*store, name);
        }
        Ok(Self {
            cgroups,
            options,
            object,
            links,
            tables_kept: left.tables.map_or_else(Vec::new, |set| set.names),
            superseded: left.superseded,
            left: None,
            records: Some(records),
        })
    }

    /// What the programs tell; there is one reader.
    pub fn take_records(&mut self) -> Option<Records> {
        self.records.take()
    }

    /// What the programs tell of connections; there is one reader.
    pub fn moments(&self) -> Result<Moments, KernelError> {
        Ok(self.object.moments()?)
    }

    /// How many moments the buffer had no room for.
    pub fn moments_lost(&self) -> Result<u64, KernelError> {
        let lost = self.object.moments_lost()?;
        counters::sum(&lost, 0).map_err(KernelError::Records)
    }

    /// Makes the programs tell these moments of connections, from now on.
    pub fn tell(&mut self, interest: Interest) -> Result<(), KernelError> {
        self.options.interest = interest;
        Ok(self.object.maps.tell(interest)?)
    }

    /// Leaves the connects of the agent alone, from now on.
    pub fn set_agent(&mut self, pid: u32) -> Result<(), KernelError> {
        self.options.agent = Some(pid);
        Ok(self.object.maps.set_agent(pid)?)
    }

    /// Sends questions to DNS servers to the agent, which said just now that it answers at these addresses; none if it does
    /// not.
    pub fn hear_nameserver(&mut self, listening: Option<Listening>) -> Result<(), KernelError> {
        let heard = self.object.maps.hear_nameserver(listening);
        heard.map_err(KernelError::Capture)
    }

    fn follow_askers(&mut self, mesh: &Mesh, facts: &Facts) -> Result<(), KernelError> {
        let askers = tables::askers(mesh, facts);
        let followed = self.object.maps.follow_askers(askers.as_ref());
        followed.map_err(KernelError::Capture)
    }

    /// What the last pass left in the tables.
    pub fn left(&self) -> Option<&Tables> {
        self.left.as_ref().map(Left::tables)
    }

    /// The same with what it was made of.
    pub fn built(&self) -> Option<&Built> {
        self.left.as_ref().map(Left::built)
    }

    /// Whether connects are handled by what an earlier process left.
    pub fn has_inherited(&self) -> bool {
        self.links.has_inherited()
    }

    /// Makes the kernel follow `mesh`: larger tables if it needs them, its rows, and the hooks
    /// of its cgroups.
    pub fn reconcile(
        &mut self,
        mesh: &Mesh,
        facts: &Facts,
        extent: Extent,
    ) -> Result<Pass, KernelError> {
        let mut left = self.left.take();
        let before = left.as_ref().map(|left| left.tables().clone());
        let pass = reconcile::pass(self, mesh, facts, extent, &mut left);
        self.left = left;
        let pass = pass?;
        self.follow_askers(mesh, facts)?;
        self.adopt(before.as_ref())?;
        Ok(pass)
    }

    /// Counts connections that are open to services that count them from now on. After a restart all of these are
    /// looked at: what is counted says so.
    fn adopt(&self, before: Option<&Tables>) -> Result<(), KernelError> {
        let Some(left) = &self.left else {
            return Ok(());
        };
        let after = &left.tables().rows.services;
        let empty = IdMap::default();
        let before = before.map_or(&empty, |before| &before.rows.services);
        let counts = |services: &IdMap<Services>, id: &ServiceId| {
            let row = services.get(id);
            row.is_some_and(|row: &Service| row.picking.counts())
        };
        let begin = before.differing(after).into_iter();
        let begin = begin.filter(|id| counts(after, id) && !counts(before, id));
        let begin: BTreeSet<_> = begin.collect();
        if begin.is_empty() {
            return Ok(());
        }
        let adopted = self.object.maps.adopt(&begin, left.tables());
        adopted.map_err(KernelError::Connections)
    }

    /// Waits for the grace period after a pass, if there is one to wait for. The next pass would wait for it
    /// otherwise, before its first write. Then nothing is mapped any more.
    pub fn quiesce(&mut self) {
        if let Err(error) = self.object.maps.quiesce() {
            log::debug!("no grace period after the pass, the next one waits: {error}");
        }
        self.object.maps.release();
    }

    /// What [`Kernel::reconcile`] would do.
    pub fn change(&mut self, mesh: &Mesh, facts: &Facts) -> Result<Change, KernelError> {
        reconcile::change(self, mesh, facts)
    }

    /// Captures programs of `mesh`, which the tables hold, and makes callers special as soon as they begin
    /// to run. A pass does that as well, but reads all tables first; it is still needed, to forget the
    /// old ones.
    pub fn greet(&mut self, mesh: &Mesh, facts: &Facts) -> Result<(), KernelError> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        let written = left.tables_mut();
        let (callers, levels) = tables::callers(mesh, facts);
        let mut ops = Vec::new();
        for (cgroup, caller) in callers {
            if written.callers.insert(cgroup, caller) != Some(caller) {
                ops.push(Op::PutCaller(cgroup, caller));
            }
        }
        if levels & !written.caller_levels != 0 {
            written.caller_levels |= levels;
            ops.push(Op::CallerLevels(written.caller_levels));
        }
        for op in &ops {
            // They count at once, whatever the generation.
            self.object.maps.apply(op, 0)?;
        }
        self.follow_askers(mesh, facts)?;
        let attached = self.links.read(&self.object)?;
        let mut plan = hooks::plan(&attached, &Wanted::by(mesh, facts));
        let gone = self.links.claim(&self.cgroups, &plan.claims)?;
        plan.leave_out(&gone);
        Ok(self.links.make(&plan.make, &mut self.object)?)
    }

    /// Reads all tables.
    pub fn read(&mut self) -> Result<Actual, KernelError> {
        Ok(self.object.maps.read()?)
    }

    /// Ends every connection of these endpoints, which nothing may choose any more.
    pub fn end(&self, targets: &Targets) -> Result<Ended, KernelError> {
        self.object.maps.end(targets).map_err(KernelError::End)
    }

    /// Ends the sockets with these cookies: connections that programs hold, and some that have arrived. Gives the
    /// cookies of those that it ended.
    pub fn end_sockets(
        &self,
        listed: &BTreeSet<u64>,
        others: &BTreeSet<u64>,
    ) -> Result<BTreeSet<u64>, KernelError> {
        let ended = self.object.maps.end_sockets(listed, others);
        ended.map_err(KernelError::End)
    }

    fn release_superseded(&mut self) {
        for name in std::mem::take(&mut self.superseded) {
            store::release(&*self.options.store, &name);
        }
    }
}
