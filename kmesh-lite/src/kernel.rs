//! The kernel side: programs loaded, tables mapped, hooks attached.
//!
//! In: meshes, through [`Kernel::reconcile`]. Out: maps and links; nothing else writes to them. The
//! rest of the system meets the kernel here and nowhere else.

mod bpf;
mod counters;
mod events;
mod fault;
mod hooks;
mod inherited;
mod maps;
mod object;
mod observer;
mod probe;
mod rows;
mod server_first;
mod store;

pub use counters::Counters;
pub use hooks::{HookError, outermost};
pub use inherited::Descriptors;
pub use object::{Abilities, LoadError};
pub use observer::{ObserveError, Observer, instances};
pub use probe::{
    AtHook, Level, at_hooks, has_bpf, has_loopback, has_membarrier, kept_for, names, probe,
};
pub use store::{NoStore, Store};

use crate::host::{self, CgroupError, Cgroups, MissingCapabilities, facts};
use crate::maps::{Maps, MapsError};
use crate::model::{Facts, Limits, Mesh};
use crate::plan::{self, Op, drift, words};
use crate::reconcile::{self, Prepared, ReconcileError};
use crate::tables::{self, Actual, Leftovers, Tables};
use events::Reader;
use hooks::Hooks;
use inherited::Inherited;
use kmesh_lite_common::{Label, Settings};
use object::{ByName, Object, Reuse};
use server_first::Sink;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Group, Name};

/// What does not come from the mesh.
#[derive(Clone)]
pub struct Options {
    /// Cgroups to attach to in place of those of the file.
    pub cgroups: Option<Vec<PathBuf>>,
    /// A process whose connects are left alone: the daemon's own.
    pub daemon: Option<u32>,
    /// Tells the tables of several daemons on a host apart.
    pub instance: u64,
    /// Who keeps links and maps beyond this process.
    pub store: Arc<dyn Store>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cgroups: None,
            daemon: None,
            instance: 0,
            store: Arc::new(NoStore),
        }
    }
}

impl Options {
    fn settings(&self) -> Settings {
        Settings {
            label: self.label(),
            daemon: self.daemon.unwrap_or(0),
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
    options: Options,
    limits: Limits,
    object: Object,
    hooks: Hooks,
    /// Names under which the store keeps the tables; none before they hold a mesh.
    tables_kept: Vec<Name>,
    /// Tables of an earlier process that are of no use once every link is switched.
    superseded: Vec<Name>,
    /// What the last successful pass left behind: any difference to it is drift.
    written: Option<Tables>,
    /// Runs until this is dropped.
    _events: Reader,
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
    Events(#[source] std::io::Error),
    #[error("cannot list the addresses of this host")]
    Addresses(#[source] std::io::Error),
}

impl From<MapsError> for KernelError {
    fn from(error: MapsError) -> Self {
        Self::Reconcile(error.into())
    }
}

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Operations carried out; 0 when the kernel was as desired.
    pub operations: usize,
    /// The change in words.
    pub words: Vec<String>,
    /// What was not as the last pass left it.
    pub drift: Vec<String>,
    /// Whether the tables were replaced by larger ones.
    pub grown: bool,
}

impl Kernel {
    /// Loads the programs with tables for `limits`. Nothing is attached before the first pass.
    pub fn load(limits: Limits, options: Options) -> Result<Self, KernelError> {
        Self::take_over(limits, options, Descriptors::new())
    }

    /// Loads the programs, and goes on from where an earlier process ended: `left` is what the store
    /// kept. Connects are handled without a gap.
    ///
    /// Tables of this version are used as they are. Others stay in charge until the first pass has
    /// filled new ones; so do those of which something is missing. Sockets that earlier programs
    /// redirected keep their peer name in any case.
    pub fn take_over(
        limits: Limits,
        options: Options,
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
            Object::load(&limits, options.settings(), reuse)
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
        let sink = Sink::open().map_err(KernelError::Events)?;
        object.set_sink(sink.as_fd())?;
        let events = Reader::start(object.events()?, sink).map_err(KernelError::Events)?;
        let store = Arc::clone(&options.store);
        let mut hooks = Hooks::new(Arc::clone(&store));
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
        hooks.inherit(left.links, familiar, &cgroups);
        if !familiar {
            keep(&*store, Group::Sockets, object.sockets());
        }
        if filled {
            object.maps.mend_settings(options.settings())?;
        }
        if filled && familiar {
            // From now on they run what this version does, whatever the file is like.
            hooks.switch(&object)?;
        }
        for name in &left.foreign {
            store::release(&*store, name);
        }
        let limits = if filled { object.maps.limits() } else { limits };
        Ok(Self {
            cgroups,
            options,
            limits,
            object,
            hooks,
            tables_kept: left.tables.map_or_else(Vec::new, |set| set.names),
            superseded: left.superseded,
            written: None,
            _events: events,
        })
    }

    /// Whether connects are handled by what an earlier process left.
    pub fn has_inherited(&self) -> bool {
        self.hooks.has_inherited()
    }

    /// Makes the kernel follow `mesh`: larger tables if it asks for them, its rows, and the hooks
    /// of its cgroups.
    pub fn reconcile(&mut self, mesh: &Mesh) -> Result<Pass, KernelError> {
        let facts = facts(&self.cgroups, mesh).map_err(KernelError::Addresses)?;
        let mut drift = self.mend_settings()?;
        let asked = self.options.cgroups.as_ref();
        let wanted = hooks::outermost(&self.cgroups, asked.unwrap_or(&mesh.capture.cgroups));
        // What can be wrong with the cgroups is found before anything is written.
        let claims = self.hooks.claim(&self.cgroups, &wanted)?;
        let headers = mesh.has_headers();
        if headers {
            self.hooks.prepare_headers(&self.object)?;
        }
        let grown = !self.limits.covers(mesh.limits);
        let mut summary = Vec::new();
        if grown || self.object.maps.is_worn_out()? {
            summary = self.replace(mesh, &facts)?;
        }
        let prepared = match reconcile::prepare(&mut self.object.maps, mesh, &facts) {
            // Room, but not in one piece: a fresh copy of the tables has no holes.
            Err(ReconcileError::Capacity { .. }) => {
                summary = self.replace(mesh, &facts)?;
                reconcile::prepare(&mut self.object.maps, mesh, &facts)?
            }
            prepared => prepared?,
        };
        drift.extend(self.drift(&prepared));
        // A pass that fails half way leaves what nobody meant: not drift, but work for the next one.
        self.written = None;
        if self.tables_kept.is_empty() {
            // Nobody reads these tables yet, and links of an earlier process read others.
            reconcile::apply(&mut self.object.maps, &prepared)?;
            self.tables_kept = keep(&*self.options.store, Group::Tables, self.object.tables());
            self.hooks.attach(claims, headers, &self.object)?;
        } else {
            // Until the commit new cgroups see what the others do: the old mesh.
            self.hooks.attach(claims, headers, &self.object)?;
            reconcile::apply(&mut self.object.maps, &prepared)?;
        }
        summary.extend(prepared.words());
        self.written = Some(prepared.desired);
        self.hooks.retain(&wanted);
        self.hooks.retain_headers(headers, &self.object);
        self.release_superseded();
        // Nobody waits for the end of this pass; for the next one somebody will.
        if let Err(error) = self.object.maps.quiesce() {
            log::debug!("no grace period after the pass, the next one waits: {error}");
        }
        Ok(Pass {
            operations: prepared.plan.ops.len(),
            words: summary,
            drift,
            grown,
        })
    }

    /// Makes programs of `mesh`, which the tables hold, special as soon as they begin to run. A pass
    /// does that as well, but reads all tables first; it is still needed, to forget the old ones.
    pub fn greet(&mut self, mesh: &Mesh) -> Result<(), KernelError> {
        let Some(written) = &mut self.written else {
            return Ok(());
        };
        let facts = facts(&self.cgroups, mesh).map_err(KernelError::Addresses)?;
        let (callers, levels) = tables::callers(&facts);
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
        Ok(())
    }

    /// What [`Kernel::reconcile`] would do to the tables, or to the ones that would replace them.
    pub fn prepare(&mut self, mesh: &Mesh) -> Result<Prepared, KernelError> {
        let facts = facts(&self.cgroups, mesh).map_err(KernelError::Addresses)?;
        if !self.limits.covers(mesh.limits) {
            return self.fresh(mesh, &facts);
        }
        match reconcile::prepare(&mut self.object.maps, mesh, &facts) {
            Err(ReconcileError::Capacity { .. }) => self.fresh(mesh, &facts),
            prepared => Ok(prepared?),
        }
    }

    /// Reads all tables.
    pub fn read(&mut self) -> Result<Actual, KernelError> {
        Ok(self.object.maps.read()?)
    }

    /// Reads the counters of what `tables` hold.
    pub fn counters(&self, tables: &Tables) -> Result<Counters, KernelError> {
        Ok(self.object.maps.counters.read(tables)?)
    }

    /// The limits that the running tables were made for.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Cgroups that are attached to.
    pub fn attached(&self) -> Vec<PathBuf> {
        self.hooks.cgroups()
    }

    /// The tree in which the cgroups of a mesh are.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Repairs what is not part of any mesh, and says what was wrong.
    fn mend_settings(&mut self) -> Result<Vec<String>, MapsError> {
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

    fn release_superseded(&mut self) {
        for name in std::mem::take(&mut self.superseded) {
            store::release(&*self.options.store, &name);
        }
    }

    fn drift(&self, prepared: &Prepared) -> Vec<String> {
        let written = self.written.as_ref();
        written.map_or_else(Vec::new, |written| drift(written, &prepared.actual))
    }

    /// A plan for empty tables in which everything keeps its id and the endpoints have no gaps.
    fn fresh(&mut self, mesh: &Mesh, facts: &Facts) -> Result<Prepared, KernelError> {
        let mut actual = self.object.maps.read()?;
        actual.leftovers = Leftovers::default();
        let endpoints = std::mem::take(&mut actual.tables.endpoints);
        let desired = tables::build(mesh, facts, &actual).map_err(ReconcileError::from)?;
        actual.tables.endpoints = endpoints;
        let plan = plan::diff(&Actual::default(), &desired);
        Ok(Prepared {
            actual,
            desired,
            plan,
        })
    }

    /// Fills new tables beside the running ones, then switches every hook to them. Connections and
    /// ids stay; what the sockets remember is shared by both. Gives the change in words.
    fn replace(&mut self, mesh: &Mesh, facts: &Facts) -> Result<Vec<String>, KernelError> {
        let limits = self.limits.max(mesh.limits);
        let reuse = Reuse {
            tables: None,
            sockets: Some(self.object.sockets()),
        };
        let mut object = Object::load(&limits, self.options.settings(), reuse)?;
        let Prepared {
            actual,
            desired,
            plan,
        } = self.fresh(mesh, facts)?;
        for op in &plan.ops {
            object.maps.apply(op, plan.generation)?;
        }
        self.object
            .maps
            .counters
            .copy_to(&mut object.maps.counters, &desired)?;
        // Whoever takes over half way through the links finds the new tables whole, and goes on.
        let kept = keep(&*self.options.store, Group::Tables, object.tables());
        if let Err(error) = self.hooks.switch(&object) {
            // Links that have gone ahead would go on with tables that nobody writes to.
            self.hooks.switch(&self.object)?;
            self.superseded.extend(kept);
            return Err(error.into());
        }
        self.superseded
            .extend(std::mem::replace(&mut self.tables_kept, kept));
        self.object = object;
        self.limits = limits;
        self.written = None;
        let mut lines =
            vec!["the tables were replaced by new ones, with every connection kept".to_owned()];
        lines.extend(words(&actual.tables, &desired));
        Ok(lines)
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
