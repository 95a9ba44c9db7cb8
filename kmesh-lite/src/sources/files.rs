//! The configuration's files as the daemon's source.

use super::source::{Loaded, Source};
use crate::api::{FileText, Findings};
use crate::config::{Host, Loader, Problems};
use std::path::{Path, PathBuf};

/// Reads `mesh.toml` and its drop-ins, each file again only when it changed.
pub struct Files {
    loader: Loader,
    path: PathBuf,
    drop_ins: PathBuf,
    host: String,
    /// Whether the main file was there once.
    seen: bool,
    /// Whether texts are for a terminal.
    color: bool,
}

impl Files {
    /// `path` is absolute; `host` is the name of this host.
    pub fn new(path: PathBuf, host: String) -> Self {
        let loader = Loader::new(&path);
        Self {
            drop_ins: loader.folder(),
            loader,
            path,
            host,
            seen: false,
            color: false,
        }
    }

    /// With findings in colour, or without.
    pub fn colored(self, color: bool) -> Self {
        Self { color, ..self }
    }

    /// The texts of `files`, as they were when they were last loaded.
    pub fn texts(&self, files: &[PathBuf]) -> Vec<FileText> {
        let texts = self.loader.texts(files).into_iter();
        texts
            .map(|(path, text)| FileText {
                path: path.display().to_string(),
                text,
            })
            .collect()
    }

    fn host(&self) -> Host {
        let own_addresses = crate::host::own_addresses().unwrap_or_else(|error| {
            log::warn!("cannot list the addresses of this host: {error}");
            Default::default()
        });
        Host {
            name: self.host.clone(),
            own_addresses,
            unit_files: crate::host::unit_files(),
        }
    }
}

impl Source for Files {
    fn load(&mut self) -> Loaded {
        let host = self.host();
        let loaded = loaded(self.loader.load(&host), self.color);
        let main = loaded.files.contains(&self.path);
        // Without its main file a configuration that had one is not whole: drop-ins alone would
        // take away all that the main file said.
        if self.seen && !main && loaded.problems.errors == 0 {
            return Loaded::default();
        }
        self.seen |= main;
        loaded
    }

    fn load_texts(&self, texts: Vec<FileText>) -> Loaded {
        let texts = texts.into_iter().map(|file| (file.path.into(), file.text));
        loaded(
            Loader::load_texts(texts.collect(), &self.host()),
            self.color,
        )
    }

    fn file(&self) -> &Path {
        &self.path
    }

    fn drop_ins(&self) -> &Path {
        &self.drop_ins
    }
}

fn loaded(loaded: crate::config::Loaded, color: bool) -> Loaded {
    Loaded {
        mesh: loaded.mesh,
        problems: findings(&loaded.problems, color),
        unsupported: findings(&loaded.unsupported, color),
        files: loaded.files,
        present: loaded.present,
    }
}

fn findings(problems: &Problems, color: bool) -> Findings {
    use crate::config::Severity;
    Findings {
        errors: problems.count(Severity::Error),
        text: problems.render(color),
        list: problems.to_json()["problems"].take(),
    }
}
