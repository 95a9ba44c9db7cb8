//! The configuration, as the daemon sees it.

use super::last_good::LastGood;
use crate::config::{Fragments, Host, Loaded, Loader, Origin};
use crate::host::{WatchError, look_again};
use crate::memory::give_back;
use crate::model::{CgroupRef, Mesh};
use crate::sources::{Completion, Files};
use std::time::{Duration, Instant};

/// For so long what was applied before a change counts as the state before it: editors and scripts write the file, and
/// the operator asks for a reload that has to be confirmed a moment later.
const RECENT: Duration = Duration::from_secs(60);

/// Has the fragments of a configuration, and tells when they may have changed.
pub trait Source {
    /// The name of the whole: the main file.
    fn name(&self) -> Origin;

    /// From now on `changed` is called whenever there may be something new to read.
    fn watch(&mut self, changed: impl Fn(Completion) + Send + 'static) -> Result<(), WatchError>;

    /// The fragments as they are now. A change that comes later is one that `changed` tells of.
    fn read(&mut self) -> Fragments;

    /// The same, where only what `changed` told of needs to be looked at.
    fn read_changed(&mut self) -> Fragments;

    /// What an earlier process had read last: a part of it that is missing now is missed.
    fn expect(&mut self, origins: &[Origin]);

    /// Whether something may have changed that no call told of.
    fn may_have_changed(&mut self) -> bool;

    /// What could not be watched at the last look: changes there are only found by the timer.
    fn blind(&self) -> &[WatchError];
}

impl Source for Files {
    fn name(&self) -> Origin {
        Origin::new(self.main())
    }

    fn watch(&mut self, changed: impl Fn(Completion) + Send + 'static) -> Result<(), WatchError> {
        self.watch(changed)
    }

    fn read(&mut self) -> Fragments {
        self.read()
    }

    fn read_changed(&mut self) -> Fragments {
        self.read_changed()
    }

    fn expect(&mut self, origins: &[Origin]) {
        self.expect(origins);
    }

    fn may_have_changed(&mut self) -> bool {
        self.may_have_changed()
    }

    fn blind(&self) -> &[WatchError] {
        self.blind()
    }
}

/// Meshes of a source, as this host is to run them.
pub struct MeshSource<S> {
    pub source: S,
    /// This host when it was last looked at.
    pub host: Host,
    loader: Loader,
    /// What was read last.
    fragments: Fragments,
    last_good: LastGood,
    /// What was applied last, by this process or the one before.
    applied: Option<Fragments>,
    /// What was applied before, and until when.
    earlier: Option<(Fragments, Instant)>,
    /// Attach to these instead of what the configuration says; none: what it says.
    cgroups: Vec<CgroupRef>,
    /// The unit of the agent, where it is one.
    pub agent: Option<CgroupRef>,
    /// How much text has been read since memory was given back.
    read_bytes: usize,
}

impl<S: Source> MeshSource<S> {
    pub fn new(source: S, cgroups: Vec<CgroupRef>, last_good: LastGood) -> Self {
        Self {
            source,
            fragments: Fragments::default(),
            last_good,
            applied: None,
            earlier: None,
            host: Host::default(),
            loader: Loader::default(),
            cgroups,
            agent: None,
            read_bytes: 0,
        }
    }

    pub fn load(&mut self) -> Loaded {
        self.fragments = self.source.read();
        self.load_fragments()
    }

    /// The same after `changed` told of something.
    pub fn load_changed(&mut self) -> Loaded {
        self.fragments = self.source.read_changed();
        self.load_fragments()
    }

    fn load_fragments(&mut self) -> Loaded {
        look_again(&mut self.host);
        let loaded = self.loader.load(&self.fragments, &self.host);
        self.read_bytes += loaded.changed_bytes;
        self.overridden(loaded)
    }

    /// The same at the start, and the mesh that the process before had: where what is loaded cannot take
    /// its place, that one goes on.
    pub fn load_after(&mut self, recalled: Option<Fragments>) -> (Loaded, Option<Mesh>) {
        let origins = recalled.as_ref().map(Fragments::origins);
        self.source.expect(origins.unwrap_or_default());
        let loaded = self.load();
        self.applied.clone_from(&recalled);
        let is_enough = |mesh: &Mesh| !mesh.services.is_empty() || mesh.allow_empty;
        let recalled = recalled.filter(|_| !loaded.mesh.as_ref().is_some_and(is_enough));
        let before = recalled.and_then(|fragments| self.load_other(&fragments).mesh);
        (loaded, before)
    }

    /// What was loaded last is good: the process after this one is to know it.
    pub fn keep(&mut self) {
        self.last_good.keep(&self.fragments);
        let applied = self.applied.replace(self.fragments.clone());
        self.forget_earlier();
        if let Some(applied) = applied
            && self.earlier.is_none()
            && !applied.say_the_same_as(&self.fragments)
        {
            self.earlier = Some((applied, Instant::now()));
        }
    }

    /// The same of what was applied before.
    pub fn keep_again(&mut self, before: &Fragments) {
        self.last_good.keep_again(before);
        self.applied = Some(before.clone());
        self.earlier = None;
    }

    /// Of what was applied before, what is too long ago.
    pub fn forget_earlier(&mut self) {
        self.earlier.take_if(|(_, until)| until.elapsed() >= RECENT);
    }

    /// What to go back to from what was loaded last: what was applied before it, or a moment ago.
    pub fn before(&mut self) -> Option<&Fragments> {
        self.forget_earlier();
        let earlier = self.earlier.as_ref().map(|(fragments, _)| fragments);
        earlier.or(self.applied.as_ref())
    }

    /// From now on what is applied is the state before what comes.
    pub fn settle(&mut self) {
        self.earlier = None;
    }

    /// What was read last.
    pub const fn fragments(&self) -> &Fragments {
        &self.fragments
    }

    pub const fn applied(&self) -> Option<&Fragments> {
        self.applied.as_ref()
    }

    /// Whether what was read last is what is applied.
    pub fn is_applied(&self) -> bool {
        let applied = self.applied.as_ref();
        applied.is_some_and(|it| it.say_the_same_as(&self.fragments))
    }

    /// What that means which is applied.
    pub fn load_applied(&mut self) -> Option<Mesh> {
        let applied = self.applied.clone()?;
        self.load_other(&applied).mesh
    }

    /// Gives back to the system what reading and applying took for a while.
    pub fn give_memory_back(&mut self) {
        if give_back(self.read_bytes) {
            self.read_bytes = 0;
        }
    }

    /// What other fragments would mean.
    pub fn load_other(&mut self, fragments: &Fragments) -> Loaded {
        look_again(&mut self.host);
        self.overridden(Loader::default().load(fragments, &self.host))
    }

    /// What the command line says about cgroups goes before what the configuration says.
    fn overridden(&self, mut loaded: Loaded) -> Loaded {
        if let Some(mesh) = &mut loaded.mesh
            && !self.cgroups.is_empty()
        {
            mesh.capture.cgroups.clone_from(&self.cgroups);
        }
        // Probes go to endpoints themselves, whatever waypoints there are, and questions to the resolver.
        if let Some(mesh) = &mut loaded.mesh
            && (mesh.is_checked || !mesh.questions.is_empty())
        {
            let named = |unit: &CgroupRef| mesh.capture.bypass.contains(unit);
            let unit = self.agent.clone().filter(|unit| !named(unit));
            mesh.capture.bypass.extend(unit);
        }
        loaded
    }
}
