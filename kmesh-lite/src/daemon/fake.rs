//! A datapath, a source and a supervisor that do as they are told, for tests.

use super::event::Event;
use super::supervisor::{News, Supervisor};
use super::{Blame, Datapath, Source, cgroups_changed};
use crate::config::{Fragments, Origin, fragment};
use crate::host::{Cgroups, Units, WatchError};
use crate::kernel::{Ended, Living, Snapshot};
use crate::maps::{Maps, Memory};
use crate::model::{Facts, Limits, Mesh};
use crate::reconcile::{self, Change, Extent, Pass};
use crate::sources::Completion;
use crate::tables::{Actual, Built, Counters, Targets};
use kmesh_lite_ebpf::Outcome;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a fake datapath holds and is told; shared with the test.
#[derive(Clone, Default)]
pub struct Kernel(Arc<Mutex<Inside>>);

#[derive(Default)]
pub struct Inside {
    /// The mesh of the last pass that succeeded.
    pub held: Option<Mesh>,
    pub passes: usize,
    /// Of the last pass.
    pub extent: Option<Extent>,
    pub facts: Facts,
    pub greetings: usize,
    /// What the next passes fail with.
    pub fail: Option<Broken>,
    /// The service that no mesh can be applied with.
    pub refused: Option<&'static str>,
    /// What the next pass finds.
    pub drift: Vec<String>,
    /// The endpoints whose connections were to end, each time.
    pub ended: Vec<Targets>,
    /// Connections to this host that stand: both ends of each, its own first.
    pub established: Vec<(SocketAddr, SocketAddr)>,
    pub dropped: bool,
    /// Whether somebody detached the programs since the last pass.
    pub detached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("the table `endpoints` is too small")]
    Limit,
    #[error("another program holds the hook")]
    Hook,
}

impl Kernel {
    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// Names of the services that are held.
    pub fn services(&self) -> Vec<String> {
        let inside = self.inside();
        let held = inside.held.iter().flat_map(|mesh| mesh.services.keys());
        held.map(ToString::to_string).collect()
    }
}

/// The datapath of a [`Kernel`].
pub struct FakeDatapath(pub Kernel);

impl Datapath for FakeDatapath {
    type Error = Broken;

    fn reconcile(&mut self, mesh: &Mesh, facts: &Facts, extent: Extent) -> Result<Pass, Broken> {
        let mut inside = self.0.inside();
        inside.passes += 1;
        inside.extent = Some(extent);
        inside.facts = facts.clone();
        if let Some(broken) = inside.fail {
            return Err(broken);
        }
        if let Some(refused) = inside.refused
            && mesh.services.contains_key(refused)
        {
            return Err(Broken::Limit);
        }
        let changed = inside.held.as_ref() != Some(mesh);
        inside.held = Some(mesh.clone());
        inside.detached = false;
        let drift = std::mem::take(&mut inside.drift);
        let words = changed.then(|| "the mesh changed".to_owned());
        Ok(Pass {
            operations: usize::from(changed) + drift.len(),
            summary: words.into_iter().collect(),
            drift,
            ..Pass::default()
        })
    }

    fn greet(&mut self, mesh: &Mesh, _: &Facts) -> Result<(), Broken> {
        let mut inside = self.0.inside();
        assert_eq!(inside.held.as_ref(), Some(mesh), "the one that is held");
        inside.greetings += 1;
        Ok(())
    }

    fn change(&mut self, mesh: &Mesh, facts: &Facts) -> Result<Change, Broken> {
        Ok(reconcile::prepare(&mut self.tables(), mesh, facts)
            .expect("a small mesh fits")
            .into())
    }

    fn attached_to(&self) -> Result<Vec<PathBuf>, Broken> {
        let inside = self.0.inside();
        let held = inside.held.iter().filter(|_| !inside.detached);
        let captured = held.flat_map(|mesh| &mesh.capture.cgroups);
        Ok(captured.map(|name| name.to_string().into()).collect())
    }

    fn read(&mut self) -> Result<Actual, Broken> {
        if let Some(broken) = self.0.inside().fail {
            return Err(broken);
        }
        Ok(self.tables().read().expect("memory does not fail"))
    }

    fn built(&self) -> Option<Cow<'_, Built>> {
        let inside = self.0.inside();
        let held = inside.held.as_ref()?;
        let mut maps = Memory::new(Limits::default());
        let prepared = reconcile::prepare(&mut maps, held, &inside.facts);
        Some(Cow::Owned(prepared.expect("a small mesh fits").desired))
    }

    fn snapshot(&mut self) -> Result<Snapshot, Broken> {
        Ok(Snapshot {
            tables: self.tables().read().expect("memory does not fail").tables,
            counters: Counters {
                outcomes: BTreeMap::from([(Outcome::Endpoint, 7)]),
                ..Counters::default()
            },
            ..Snapshot::default()
        })
    }

    fn connections(&self) -> Result<Vec<Living>, Broken> {
        Ok(Vec::new())
    }

    fn established(&self, port: u16) -> Result<Vec<(SocketAddr, SocketAddr)>, Broken> {
        let mut all = self.0.inside().established.clone();
        all.retain(|(local, _)| local.port() == port);
        Ok(all)
    }

    fn end(&mut self, targets: &Targets) -> Result<Ended, Broken> {
        self.0.inside().ended.push(targets.clone());
        Ok(Ended::default())
    }

    fn blame(error: &Broken) -> Blame {
        match error {
            Broken::Limit => Blame::Configuration,
            Broken::Hook => Blame::Host,
        }
    }
}

impl FakeDatapath {
    /// The tables of the mesh that is held.
    fn tables(&self) -> Memory {
        let mut maps = Memory::new(Limits::default());
        if let Some(held) = &self.0.inside().held {
            let prepared = reconcile::prepare(&mut maps, held, &Facts::default());
            let prepared = prepared.expect("a small mesh fits");
            reconcile::apply(&mut maps, &prepared).expect("memory does not fail");
        }
        maps
    }
}

impl Drop for FakeDatapath {
    fn drop(&mut self) {
        self.0.inside().dropped = true;
    }
}

/// A source that has one fragment in memory, or none; shared with the test.
#[derive(Clone, Default)]
pub struct FakeSource(Arc<Mutex<InMemory>>);

#[derive(Default)]
struct InMemory {
    text: Option<String>,
    revision: u64,
    changed: Option<Box<dyn Fn(Completion) + Send>>,
}

impl FakeSource {
    /// Changes the fragment to [`toml`] of `text`.
    pub fn write(&self, text: &str) {
        self.change(Some(toml(text)));
    }

    pub fn remove(&self) {
        self.change(None);
    }

    fn change(&self, text: Option<String>) {
        let mut inside = self.0.lock().unwrap();
        inside.text = text;
        inside.revision += 1;
        if let Some(changed) = &inside.changed {
            changed(Completion::Complete);
        }
    }
}

impl Source for FakeSource {
    fn name(&self) -> Origin {
        Origin::new("memory:mesh")
    }

    fn watch(&mut self, changed: impl Fn(Completion) + Send + 'static) -> Result<(), WatchError> {
        self.0.lock().unwrap().changed = Some(Box::new(changed));
        Ok(())
    }

    fn read(&mut self) -> Fragments {
        let inside = self.0.lock().unwrap();
        let mut fragments = Fragments::default();
        if let Some(text) = &inside.text {
            fragments.push(fragment(self.name(), inside.revision, text.clone().into()));
        }
        fragments
    }

    fn read_changed(&mut self) -> Fragments {
        self.read()
    }

    fn expect(&mut self, _: &[Origin]) {}

    fn may_have_changed(&mut self) -> bool {
        false
    }

    fn blind(&self) -> &[WatchError] {
        &[]
    }
}

/// A configuration with one service of each line's name. A line like `sshd.service` is a unit to
/// leave alone, `a is checked` has a check, `bad` is an error, and `allow_empty` says that it may be without services.
pub fn toml(text: &str) -> String {
    let line = |line: &str| match line {
        "bad" => line.to_owned(),
        "allow_empty" => "mesh.allow_empty = true".to_owned(),
        unit if unit.ends_with(".service") => format!("capture.bypass = ['{unit}']"),
        line if line.contains('=') => line.to_owned(),
        name => {
            let (name, health) = match name.strip_suffix(" is checked") {
                Some(name) => (name, ", health = 'tcp'"),
                None => (name, ""),
            };
            format!(
                "services.'{name}' = {{ vips = ['auto'], ports = [80], endpoints = ['10.0.0.1']{health} }}"
            )
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Keeps what it is told.
#[derive(Clone, Default)]
pub struct FakeSupervisor(Arc<Mutex<Vec<String>>>);

impl FakeSupervisor {
    /// What was told since the last time.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Supervisor for FakeSupervisor {
    fn tell(&mut self, news: News<'_>) {
        self.0.lock().unwrap().push(format!("{news:?}"));
    }
}

/// A watch on a tree of folders in place of cgroups. It has the cgroup `/only`.
pub fn units(folder: &Path, events: &Sender<Event>) -> Units {
    let mount = folder.join("cgroup");
    fs::create_dir_all(mount.join("only")).unwrap();
    let cgroups = Cgroups::at(&mount);
    Units::new(cgroups, cgroups_changed(events.clone())).unwrap()
}
