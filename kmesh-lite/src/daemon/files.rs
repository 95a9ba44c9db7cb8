//! The configuration's files as the daemon's source.

use super::api::Findings;
use super::source::{Loaded, Source};
use crate::config::{Host, Loader, Problems};
use std::io;
use std::path::{Path, PathBuf, absolute};

/// Reads `mesh.toml` and its drop-ins, each file again only when it changed.
pub struct Files {
    loader: Loader,
    path: PathBuf,
    drop_ins: PathBuf,
    host: String,
}

impl Files {
    /// `host` is the name of this host.
    pub fn new(path: &Path, host: String) -> io::Result<Self> {
        let path = absolute(path)?;
        let loader = Loader::new(&path);
        Ok(Self {
            drop_ins: loader.folder(),
            loader,
            path,
            host,
        })
    }

    fn host(&self) -> Host {
        let own_addresses = crate::kernel::own_addresses().unwrap_or_else(|error| {
            log::warn!("cannot list the addresses of this host: {error}");
            Default::default()
        });
        Host {
            name: self.host.clone(),
            own_addresses,
        }
    }
}

impl Source for Files {
    fn load(&mut self) -> Loaded {
        let host = self.host();
        loaded(self.loader.load(&host))
    }

    fn load_other(&self, path: &Path) -> Loaded {
        loaded(Loader::new(path).load(&self.host()))
    }

    fn file(&self) -> &Path {
        &self.path
    }

    fn drop_ins(&self) -> &Path {
        &self.drop_ins
    }
}

fn loaded(loaded: crate::config::Loaded) -> Loaded {
    Loaded {
        mesh: loaded.mesh,
        problems: findings(&loaded.problems),
        unsupported: findings(&loaded.unsupported),
        files: loaded.files,
        present: loaded.present,
    }
}

fn findings(problems: &Problems) -> Findings {
    use crate::config::Severity;
    if problems.is_empty() {
        return Findings::default();
    }
    Findings {
        errors: problems.count(Severity::Error),
        text: problems.render(false),
        list: problems.to_json(),
    }
}
