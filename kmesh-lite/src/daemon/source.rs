//! The configuration, as the daemon sees it.

use crate::config::{Fragments, Host, Loaded, Loader, Origin};
use crate::host::{WatchError, look_again};
use crate::sources::Files;
use std::path::PathBuf;

/// Has the fragments of a configuration, and tells when they may have changed.
pub trait Source {
    /// The name of the whole: the main file.
    fn name(&self) -> Origin;

    /// From now on `changed` is called whenever there may be something new to read.
    fn watch(&mut self, changed: impl Fn() + Send + 'static) -> Result<(), WatchError>;

    /// The fragments as they are now. A change that comes later is one that `changed` tells of.
    fn read(&mut self) -> Fragments;

    /// Whether something may have changed that no call told of.
    fn may_have_changed(&mut self) -> bool;

    /// What could not be watched at the last look: changes there are only found by the timer.
    fn blind(&self) -> &[WatchError];
}

impl Source for Files {
    fn name(&self) -> Origin {
        Origin::new(self.main())
    }

    fn watch(&mut self, changed: impl Fn() + Send + 'static) -> Result<(), WatchError> {
        self.watch(changed)
    }

    fn read(&mut self) -> Fragments {
        self.read()
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
    /// Attach to these instead of what the configuration says; none: what it says.
    cgroups: Vec<PathBuf>,
}

impl<S: Source> MeshSource<S> {
    pub fn new(source: S, cgroups: Vec<PathBuf>) -> Self {
        Self {
            source,
            host: Host::default(),
            loader: Loader::default(),
            cgroups,
        }
    }

    pub fn load(&mut self) -> Loaded {
        look_again(&mut self.host);
        let loaded = self.loader.load(&self.source.read(), &self.host);
        self.overridden(loaded)
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
        loaded
    }
}
