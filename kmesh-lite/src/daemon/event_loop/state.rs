//! What the daemon knows between two events.

use crate::api::{About, LastPass, LastReload, State as Kind, now};
use crate::config::{Loaded, Origin, Problems, Severity};
use crate::model::{Facts, Mesh};
use std::sync::Arc;

/// The last good mesh, and how reading and applying went.
pub struct LoopState {
    /// The name of the configuration: the file.
    pub name: Origin,
    /// What the kernel should hold: the last configuration without errors.
    pub mesh: Option<Arc<Mesh>>,
    /// What the kernel does hold: the last one that could be applied.
    pub applied: Option<Arc<Mesh>>,
    /// What was true of the host at the last look.
    pub facts: Facts,
    /// Whether it held the mesh of an earlier process when we began.
    inherited: bool,
    pub present: bool,
    pub origins: Vec<Origin>,
    /// Everything there is to say about the configuration as last read.
    pub problems: Problems,
    /// Whether the file as last read is what `mesh` holds.
    pub current: bool,
    /// Why the last pass failed.
    pub failure: Option<String>,
    pub last_reload: Option<LastReload>,
    pub last_pass: Option<LastPass>,
    /// What the log has said about the file, so that it is said once.
    pub logged: Option<String>,
    /// What systemd was told last.
    pub told: Option<String>,
    /// What cannot be watched.
    pub blind: Vec<String>,
    /// Where it cannot be watched that units come and go.
    pub blind_units: Vec<String>,
    started: String,
}

impl LoopState {
    pub fn new(name: Origin, inherited: bool) -> Self {
        Self {
            name,
            mesh: None,
            applied: None,
            facts: Facts::default(),
            inherited,
            present: false,
            origins: Vec::new(),
            problems: Problems::default(),
            current: false,
            failure: None,
            last_reload: None,
            last_pass: None,
            logged: None,
            told: None,
            blind: Vec::new(),
            blind_units: Vec::new(),
            started: now(),
        }
    }

    /// Takes over what was read. The mesh only changes if it can be used.
    pub fn take(&mut self, loaded: Loaded) {
        self.problems = loaded.problems;
        self.present = loaded.present;
        self.origins = loaded.origins;
        self.current = loaded.mesh.is_some();
        if let Some(mesh) = loaded.mesh {
            self.mesh = Some(Arc::new(mesh));
        }
    }

    pub fn kind(&self) -> Kind {
        match (&self.mesh, self.current) {
            (None, _) if self.inherited => Kind::Keeping,
            (None, _) => Kind::Waiting,
            (Some(_), false) => Kind::Keeping,
            (Some(_), true) if self.failure.is_some() => Kind::Failing,
            (Some(_), true) => Kind::Routing,
        }
    }

    /// How it goes, in one line.
    pub fn verdict(&self) -> String {
        let name = &self.name;
        let trouble = if !self.present {
            format!("{name} does not exist")
        } else {
            let errors = self.problems.count(Severity::Error);
            format!("{name} has {}", plural(errors, "error"))
        };
        let held = match self.applied {
            Some(_) => "keeping the last good state",
            None if self.inherited => "keeping what the daemon before left",
            None => "routing nothing yet",
        };
        match self.kind() {
            Kind::Waiting | Kind::Keeping => format!("{held}: {trouble}"),
            Kind::Failing => format!(
                "{held}: {name} cannot be applied: {}",
                self.failure.as_deref().unwrap_or_default()
            ),
            // Unattended is what others say of us.
            Kind::Routing | Kind::Unattended => {
                let (services, endpoints) = self.counts();
                format!("routing {services} over {endpoints}")
            }
        }
    }

    fn counts(&self) -> (String, String) {
        let services = || self.mesh.iter().flat_map(|mesh| mesh.services.values());
        let endpoints = services().map(|service| service.endpoints.len()).sum();
        (
            plural(services().count(), "service"),
            plural(endpoints, "endpoint"),
        )
    }

    pub fn about(&self) -> About {
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("KMESH_LITE_COMMIT").to_owned(),
            layout_version: kmesh_lite_common::LAYOUT_VERSION,
            pid: std::process::id(),
            started: self.started.clone(),
        }
    }
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
