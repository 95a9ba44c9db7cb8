//! The kernel side: programs loaded, tables mapped, links made.
//!
//! In: meshes and facts, through [`Kernel::reconcile`]. Out: maps and links, which nothing else writes
//! to; snapshots and records, which are values. The rest of the system meets the kernel here and
//! nowhere else.

mod address_bits;
mod bpf;
mod connections;
mod counters;
mod fault;
mod fields;
mod inherited;
mod links;
mod maps;
mod moments;
mod object;
mod observer;
mod open;
mod probe;
mod records;
mod rows;
mod server_first;
mod store;
mod sweep;
mod traffic;

pub use connections::Living;
pub use inherited::Descriptors;
pub use links::HookError;
pub use moments::{Hear, Moments, MomentsReader};
pub use object::{Abilities, LoadError};
pub use observer::{ObserveError, Observer, Owner, owners};
pub use probe::{
    AtHook, Level, at_hooks, has_bpf, has_loopback, has_membarrier, kept_for, names, probe,
};
pub use records::{Reader, Records};
pub use server_first::{NotHelped, Sink};
pub use store::{NoStore, Store};
pub use traffic::Accounts;

use crate::hooks::{self, Attached, HookOp, Wanted};
use crate::host::{self, CgroupError, Cgroups, MissingCapabilities};
use crate::maps::{Maps, MapsError, Selection};
use crate::model::{Cgroup, Facts, Limits, Mesh, Table};
use crate::plan::Op;
use crate::reconcile::{self, Change, Extent, Left, Pass, Port, ReconcileError};
use crate::tables::{self, Actual, Counters, IdMap, Services, Tables};
use inherited::Inherited;
use kmesh_lite_common::{Interest, Label, Service, ServiceId, Settings};
use links::Links;
use object::{ByName, Object, Reuse};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Group, Name};

/// What does not come from the mesh.
#[derive(Clone)]
pub struct KernelOptions {
    /// A process whose connects are left alone: the daemon's own.
    pub daemon: Option<u32>,
    /// Tells the tables of several daemons on a host apart.
    pub instance: u64,
    /// What there may be of everything: of so much can open connections be counted.
    pub limits: Limits,
    /// Links and maps are kept here beyond this process.
    pub store: Arc<dyn Store>,
    /// Which moments of connections are told.
    pub interest: Interest,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self {
            daemon: None,
            instance: 0,
            limits: Limits::default(),
            store: Arc::new(NoStore),
            interest: Interest::default(),
        }
    }
}

impl KernelOptions {
    fn settings(&self) -> Settings {
        Settings {
            label: self.label(),
            daemon: self.daemon.unwrap_or(0),
            interest: self.interest,
            ..Settings::default()
        }
    }

    fn label(&self) -> Label {
        Label {
            layout: Group::Tables.version(),
            ..Label::new(self.instance)
        }
    }
}

/// What tells the tables of the daemon on a control socket from those of another: FNV-1a of its path,
/// which has to be the same in every version.
pub fn instance(socket: &Path) -> u64 {
    let bytes = socket.as_os_str().as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

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
}

impl From<MapsError> for KernelError {
    fn from(error: MapsError) -> Self {
        Self::Reconcile(error.into())
    }
}

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
            keep(&*store, Group::Sockets, object.sockets());
        }
        if filled {
            // What ends before somebody listens is told as before; who only looked on has gone.
            options.interest = Interest(object.maps.interest()?.0 & Interest::ENDS.0);
            object.maps.mend_settings(options.settings())?;
        }
        if filled && familiar {
            // From now on they run what this version does, whatever the file is like.
            links.switch_all(&object)?;
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

    /// What the last pass left in the tables.
    pub fn left(&self) -> Option<&Tables> {
        self.left.as_ref().map(Left::tables)
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
        let attached = self.links.read(&self.object)?;
        let mut plan = hooks::plan(&attached, &Wanted::by(mesh, facts));
        let gone = self.links.claim(&self.cgroups, &plan.claims)?;
        plan.leave_out(&gone);
        Ok(self.links.make(&plan.make, &self.object)?)
    }

    /// Reads all tables.
    pub fn read(&mut self) -> Result<Actual, KernelError> {
        Ok(self.object.maps.read()?)
    }

    /// Cgroups whose connects are handled: every program is attached to them, and no other is in its place.
    pub fn attached_to(&self) -> Result<Vec<PathBuf>, KernelError> {
        let attached = self.links.read(&self.object)?;
        Ok(attached.whole().into_iter().collect())
    }

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

    /// The connections in the connection table.
    pub fn connections(&self) -> Result<Vec<Living>, KernelError> {
        let living = self.object.maps.living();
        living.map_err(KernelError::Connections)
    }

    /// What became of the connections that were accounted, and what those that go on have done so far.
    pub fn accounts(&self) -> Result<Accounts, KernelError> {
        if let Some(sweep) = &self.object.sweep
            && let Err(error) = sweep.run()
        {
            // What has ended is told in any case.
            log::warn!("cannot look at connections that go on: {error}");
        }
        let accounts = self.object.maps.accounts();
        accounts.map_err(KernelError::Connections)
    }

    /// Whether the kernel shows what connections that go on have done.
    pub fn sees_living(&self) -> bool {
        self.object.sweep.is_some()
    }

    fn release_superseded(&mut self) {
        for name in std::mem::take(&mut self.superseded) {
            store::release(&*self.options.store, &name);
        }
    }
}

impl Port for Kernel {
    type Maps = Object;
    type Error = KernelError;

    fn maps(&mut self) -> &mut Object {
        &mut self.object
    }

    fn room(&self) -> Limits {
        self.object.maps.room()
    }

    fn can_go_on(&self) -> Result<bool, KernelError> {
        Ok(!self.object.maps.is_worn_out()?)
    }

    fn is_in_charge(&self) -> bool {
        !self.tables_kept.is_empty()
    }

    fn mend(&mut self) -> Result<Vec<String>, KernelError> {
        let maps = &mut self.object.maps;
        let wrong = maps.mend_settings(self.options.settings())?;
        let mut drift: Vec<_> = wrong
            .iter()
            .map(|what| format!("settings: {what}"))
            .collect();
        if maps.is_worn_out()? {
            drift.push("settings: the generation is out of range".to_owned());
        }
        Ok(drift)
    }

    fn mend_rows(&mut self) -> Result<Vec<String>, KernelError> {
        if let Some(traffic) = &mut self.object.maps.traffic {
            let living =
                |ids: BTreeSet<u64>| self.cgroups.paths(ids.into_iter()).into_keys().collect();
            let folded = traffic.fold_cgroups(living);
            folded.map_err(KernelError::Connections)?;
        }
        let forgotten = self.object.maps.forget_backends();
        forgotten.map_err(KernelError::Connections)?;
        Ok(match self.object.maps.mend_address_bits()? {
            0 => Vec::new(),
            missing => vec![format!("addresses: bits of {missing} were not set")],
        })
    }

    fn attached(&mut self) -> Result<Attached, KernelError> {
        Ok(self.links.read(&self.object)?)
    }

    fn claim(&mut self, cgroups: &[Cgroup]) -> Result<BTreeSet<u64>, KernelError> {
        Ok(self.links.claim(&self.cgroups, cgroups)?)
    }

    fn make_links(&mut self, ops: &[HookOp]) -> Result<(), KernelError> {
        Ok(self.links.make(ops, &self.object)?)
    }

    fn drop_links(&mut self, ops: &[HookOp]) {
        self.links.drop(ops);
    }

    /// The new tables come with programs of their own; what sockets remember is shared by both.
    fn beside(&mut self, room: Limits) -> Result<Object, KernelError> {
        let reuse = Reuse {
            tables: None,
            sockets: Some(self.object.sockets()),
        };
        let options = &self.options;
        Ok(Object::load(
            &room,
            &options.limits,
            options.settings(),
            reuse,
        )?)
    }

    fn replace(&mut self, mut object: Object, rows: &Tables) -> Result<(), KernelError> {
        let before = self.object.maps.read()?.tables;
        let tables = [&before, rows];
        self.object.maps.hand_over(&mut object.maps, tables)?;
        // A process that takes over half way through the links finds the new tables whole, and goes on.
        let kept = keep(&*self.options.store, Group::Tables, object.tables());
        if let Err(error) = self.links.switch_all(&object) {
            // Links that have gone ahead would go on with tables that nobody writes to.
            self.links.switch_all(&self.object)?;
            self.superseded.extend(kept);
            return Err(error.into());
        }
        self.superseded
            .extend(std::mem::replace(&mut self.tables_kept, kept));
        self.object = object;
        Ok(())
    }

    fn keep(&mut self) {
        if self.tables_kept.is_empty() {
            self.tables_kept = keep(&*self.options.store, Group::Tables, self.object.tables());
        }
    }

    fn settle(&mut self) {
        self.release_superseded();
    }
}

/// An object is written to as its tables are.
impl Maps for Object {
    fn capacity(&self, table: Table) -> u32 {
        self.maps.capacity(table)
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        self.maps.read()
    }

    fn read_some(&mut self, selection: &Selection) -> Result<Actual, MapsError> {
        self.maps.read_some(selection)
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        self.maps.apply(op, generation)
    }
}

/// Hands a whole group of maps to the store. Gives the names.
fn keep(store: &dyn Store, group: Group, maps: &ByName) -> Vec<Name> {
    let fds = || maps.values().map(AsFd::as_fd);
    let set = fds().filter_map(|fd| bpf::map_id(fd).ok()).min();
    let name = |map: &str| Name::Map {
        group,
        version: group.version(),
        set: set.unwrap_or_default(),
        map: map.to_owned(),
    };
    let names: Vec<_> = maps.keys().map(|map| name(map)).collect();
    for (name, fd) in names.iter().zip(fds()) {
        store::keep(store, name, fd);
    }
    names
}
