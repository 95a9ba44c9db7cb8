//! The kernel side: programs loaded, tables mapped, hooks attached.
//!
//! In: meshes, through [`Kernel::reconcile`]. Out: maps and links; nothing else writes to them. The
//! rest of the system meets the kernel here and nowhere else.

mod bpf;
mod capability;
mod cgroup;
mod counters;
mod events;
mod facts;
mod hooks;
mod maps;
mod object;
mod rows;
mod server_first;

pub use capability::MissingCapabilities;
pub use cgroup::{CgroupError, Cgroups, Found, has_units};
pub use counters::Counters;
pub use facts::own_addresses;
pub use hooks::HookError;
pub use object::LoadError;

use crate::maps::{Maps, MapsError};
use crate::model::{Facts, Limits, Mesh};
use crate::plan::{self, Op, drift, words};
use crate::reconcile::{self, Prepared, ReconcileError};
use crate::tables::{self, Actual, Leftovers, Tables};
use events::Reader;
use hooks::Hooks;
use object::Object;
use server_first::Sink;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// What does not come from the mesh.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Cgroups to attach to in place of those of the file.
    pub cgroups: Option<Vec<PathBuf>>,
    /// A process whose connects are left alone: the daemon's own.
    pub daemon: Option<u32>,
}

/// A mesh in the kernel.
pub struct Kernel {
    cgroups: Cgroups,
    options: Options,
    limits: Limits,
    object: Object,
    hooks: Hooks,
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
        capability::check()?;
        let cgroups = Cgroups::find()?;
        let object = Object::load(&limits, options.daemon, None)?;
        let sink = Sink::open().map_err(KernelError::Events)?;
        object.set_sink(sink.as_fd()).map_err(KernelError::Events)?;
        let events = Reader::start(object.events()?, sink).map_err(KernelError::Events)?;
        Ok(Self {
            cgroups,
            options,
            limits,
            object,
            hooks: Hooks::default(),
            written: None,
            _events: events,
        })
    }

    /// Makes the kernel follow `mesh`: larger tables if it asks for them, its rows, and the hooks
    /// of its cgroups.
    pub fn reconcile(&mut self, mesh: &Mesh) -> Result<Pass, KernelError> {
        let facts = facts::facts(&self.cgroups, mesh).map_err(KernelError::Addresses)?;
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
        // Until the commit new cgroups see what the others do: the old mesh, or an empty one.
        self.hooks.attach(claims, headers, &self.object)?;
        // A pass that fails half way leaves what nobody meant: not drift, but work for the next one.
        self.written = None;
        reconcile::apply(&mut self.object.maps, &prepared)?;
        summary.extend(prepared.words());
        self.written = Some(prepared.desired);
        self.hooks.retain(&wanted);
        self.hooks.retain_headers(headers, &self.object);
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
        let facts = facts::facts(&self.cgroups, mesh).map_err(KernelError::Addresses)?;
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
        let facts = facts::facts(&self.cgroups, mesh).map_err(KernelError::Addresses)?;
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
        let mut drift = Vec::new();
        let daemon = self.options.daemon.unwrap_or(0);
        let maps = &mut self.object.maps;
        if maps.set_daemon(daemon)? != daemon {
            drift.push("settings: the process whose connects are left alone".to_owned());
        }
        if maps.is_worn_out()? {
            drift.push("settings: the generation is out of range".to_owned());
        }
        Ok(drift)
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
        let mut object = Object::load(&limits, self.options.daemon, Some(&self.object))?;
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
        if let Err(error) = self.hooks.switch(&object) {
            // Links that have gone ahead would go on with tables that nobody writes to.
            self.hooks.switch(&self.object)?;
            return Err(error.into());
        }
        self.object = object;
        self.limits = limits;
        self.written = None;
        let mut lines =
            vec!["the tables were replaced by new ones, with every connection kept".to_owned()];
        lines.extend(words(&actual.tables, &desired));
        Ok(lines)
    }
}
