//! A datapath, a source and a supervisor that do as they are told, for tests.

use super::event::Event;
use super::supervisor::{News, Supervisor};
use super::{Blame, Datapath, cgroups_changed, file_changed};
use crate::api::{FileText, Findings};
use crate::host::{Cgroups, Units};
use crate::kernel::Snapshot;
use crate::maps::{Maps, Memory};
use crate::model::{Capture, CgroupRef, Facts, Limits, Mesh, Name, Policy, Service};
use crate::reconcile::{self, Change, Pass};
use crate::sources::{Loaded, Source, Watch};
use crate::tables::{Actual, Counters};
use kmesh_lite_ebpf::Outcome;
use std::collections::BTreeMap;
use std::fs;
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
    pub greetings: usize,
    /// What the next passes fail with.
    pub fail: Option<Broken>,
    /// The service that no mesh can be applied with.
    pub refused: Option<&'static str>,
    /// What the next pass finds.
    pub drift: Vec<String>,
    pub dropped: bool,
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

    fn reconcile(&mut self, mesh: &Mesh, _: &Facts) -> Result<Pass, Broken> {
        let mut inside = self.0.inside();
        inside.passes += 1;
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
        let drift = std::mem::take(&mut inside.drift);
        let words = changed.then(|| "the mesh changed".to_owned());
        Ok(Pass {
            operations: usize::from(changed) + drift.len(),
            words: words.into_iter().collect(),
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

    fn read(&mut self) -> Result<Actual, Broken> {
        if let Some(broken) = self.0.inside().fail {
            return Err(broken);
        }
        Ok(self.tables().read().expect("memory does not fail"))
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

/// Reads a file with one service name a line; `bad` is an error and `odd` cannot be run. A line like
/// `sshd.service` is a unit to leave alone.
pub struct FakeSource {
    pub file: PathBuf,
    pub drop_ins: PathBuf,
}

impl FakeSource {
    pub fn new(file: PathBuf) -> Self {
        Self {
            drop_ins: file.with_extension("d"),
            file,
        }
    }
}

impl Source for FakeSource {
    fn load(&mut self) -> Loaded {
        let Ok(text) = fs::read_to_string(&self.file) else {
            return Loaded::default();
        };
        let path = self.file.display().to_string();
        self.load_texts(vec![FileText { path, text }])
    }

    fn load_texts(&self, texts: Vec<FileText>) -> Loaded {
        let lines: Vec<_> = texts.iter().map(|file| file.text.as_str()).collect();
        let text = lines.join("\n");
        let problems = findings(&text, "bad");
        let mesh = (problems.errors == 0).then(|| mesh(&text));
        Loaded {
            mesh,
            problems,
            unsupported: findings(&text, "odd"),
            present: !texts.is_empty(),
            files: texts.into_iter().map(|file| file.path.into()).collect(),
        }
    }

    fn file(&self) -> &Path {
        &self.file
    }

    fn drop_ins(&self) -> &Path {
        &self.drop_ins
    }
}

fn findings(text: &str, word: &str) -> Findings {
    let lines: Vec<_> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| *line == word)
        .map(|(number, line)| format!("{}: {line}", number + 1))
        .collect();
    Findings {
        errors: lines.len(),
        text: lines.join("\n"),
        list: lines.into(),
    }
}

fn mesh(text: &str) -> Mesh {
    let service = || Service {
        vips: Vec::new(),
        hostnames: Vec::new(),
        ports: Vec::new(),
        policy: Policy::ALL[0],
        prefer: Vec::new(),
        waypoint: None,
        endpoints: Vec::new(),
    };
    let is_unit = |line: &&str| line.ends_with(".service");
    let lines = text.lines().map(str::trim);
    let units = lines.clone().filter(is_unit);
    let names = lines.filter(|line| !is_unit(line));
    let names = names.map(|line| line.parse::<Name>().unwrap());
    Mesh {
        capture: Capture {
            bypass: units.map(|unit| CgroupRef::Unit(unit.to_owned())).collect(),
            ..Capture::default()
        },
        services: names.map(|name| (name, service())).collect(),
        ..Mesh::default()
    }
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

/// Watches on a source, and on a tree of folders in place of cgroups.
pub fn watches(source: &FakeSource, folder: &Path, events: &Sender<Event>) -> (Watch, Units) {
    let (file, drop_ins) = (source.file(), source.drop_ins());
    let watch = Watch::new(file, drop_ins, file_changed(events.clone())).unwrap();
    let cgroups = Cgroups::at(&folder.join("cgroup"));
    let units = Units::new(cgroups, cgroups_changed(events.clone())).unwrap();
    (watch, units)
}
