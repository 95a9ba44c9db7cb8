//! The configuration, as the daemon sees it.

use crate::api::{FileText, Findings};
use crate::model::Mesh;
use std::path::{Path, PathBuf};

/// Reads the file and its drop-ins.
pub trait Source {
    /// The file and its drop-ins as they are now.
    fn load(&mut self) -> Loaded;

    /// Texts in place of what is in the files, for a plan.
    fn load_texts(&self, texts: Vec<FileText>) -> Loaded;

    /// The file that `load` reads, absolute.
    fn file(&self) -> &Path;

    /// The folder of drop-ins that `load` reads, absolute; it need not exist.
    fn drop_ins(&self) -> &Path;
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// None if the file is absent or has errors.
    pub mesh: Option<Mesh>,
    /// Everything `check` has to say.
    pub problems: Findings,
    /// What `check` accepts and this version cannot run yet.
    pub unsupported: Findings,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
    /// Whether the main file exists.
    pub present: bool,
}

impl Loaded {
    /// What stands in the way of running it.
    pub fn errors(&self) -> usize {
        self.problems.errors + self.unsupported.errors
    }

    /// Problems and what is unsupported, as one.
    pub fn findings(&self) -> Findings {
        if self.unsupported.is_empty() {
            return self.problems.clone();
        }
        if self.problems.is_empty() {
            return self.unsupported.clone();
        }
        let lists = [&self.problems.list, &self.unsupported.list];
        Findings {
            errors: self.errors(),
            text: [
                self.problems.text.trim_end(),
                "",
                self.unsupported.text.trim_end(),
                "",
            ]
            .join("\n"),
            list: lists
                .into_iter()
                .flat_map(|list| list.as_array().cloned().unwrap_or_default())
                .collect(),
        }
    }
}
