//! A configuration that is not applied, because it would cut off somebody. It stays refused until the file says something
//! else or somebody asks for a reload: also when the connection that it was refused for has ended, and after a restart.

use super::book::{Book, BookError, fragments, texts};
use crate::api::{FileText, LockoutStatus};
use crate::config::Fragments;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the file says.
    pub file: Fragments,
    /// What is applied in its place, if anything is.
    pub before: Option<Fragments>,
    pub lockouts: Vec<LockoutStatus>,
}

/// Where it is written.
#[derive(Debug, Default)]
pub struct RefusalBook(Book);

#[derive(Serialize, Deserialize)]
struct Entry {
    file: Vec<FileText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Vec<FileText>>,
    lockouts: Vec<LockoutStatus>,
}

impl RefusalBook {
    pub fn new(folder: &Path) -> Self {
        Self(Book::new(folder, "refusal.json"))
    }

    pub fn read(&self) -> Option<Refusal> {
        let entry: Entry = self.0.read()?;
        Some(Refusal {
            file: fragments(entry.file),
            before: entry.before.map(fragments),
            lockouts: entry.lockouts,
        })
    }

    pub fn write(&self, refusal: &Refusal) -> Result<(), BookError> {
        self.0.write(&Entry {
            file: texts(&refusal.file),
            before: refusal.before.as_ref().map(texts),
            lockouts: refusal.lockouts.clone(),
        })
    }

    pub fn cross_out(&self) -> Result<(), BookError> {
        self.0.cross_out()
    }
}
