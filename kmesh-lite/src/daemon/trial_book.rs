//! A trial, written down: whatever is restarted, it goes on, and what nobody confirmed is taken back.

use super::replace::replace;
use super::trial::{TakenBack, Trial};
use crate::api::FileText;
use crate::config::{Fragments, Origin};
use log::error;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const FILE: &str = "trial.json";

/// The file. Without one, nothing is written down.
#[derive(Debug, Default)]
pub struct TrialBook {
    path: Option<PathBuf>,
}

/// Why a trial could not be written down, or crossed out.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct TrialBookError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A trial as it is written.
#[derive(Serialize, Deserialize)]
struct Entry {
    begun_ns: u64,
    until_ns: u64,
    begun: String,
    until: String,
    before: Vec<FileText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    taken_back: Option<Back>,
}

#[derive(Serialize, Deserialize)]
struct Back {
    at: String,
    file: Vec<FileText>,
}

impl TrialBook {
    pub fn new(folder: &Path) -> Self {
        Self {
            path: Some(folder.join(FILE)),
        }
    }

    /// What is written there.
    pub fn read(&self) -> Option<Trial> {
        let path = self.path.as_ref()?;
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                error!(
                    "cannot read {}, so nothing is taken back: {error}",
                    path.display()
                );
                return None;
            }
        };
        match serde_json::from_slice::<Entry>(&text) {
            Ok(entry) => Some(entry.trial()),
            Err(error) => {
                error!(
                    "{} is none of ours, so nothing is taken back: {error}",
                    path.display()
                );
                None
            }
        }
    }

    pub fn write(&self, trial: &Trial) -> Result<(), TrialBookError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let written = replace(path, |file| {
            let mut writer = BufWriter::new(file);
            serde_json::to_writer(&mut writer, &Entry::new(trial))?;
            writer.flush()
        });
        written.map_err(|source| self.failed("write", source))
    }

    pub fn cross_out(&self) -> Result<(), TrialBookError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("remove", source))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> TrialBookError {
        TrialBookError {
            doing,
            path: self.path.clone().unwrap_or_default(),
            source,
        }
    }
}

impl Entry {
    fn new(trial: &Trial) -> Self {
        let back = |back: &TakenBack| Back {
            at: back.at.clone(),
            file: texts(&back.file),
        };
        Self {
            begun_ns: trial.begun,
            until_ns: trial.until,
            begun: trial.begun_at.clone(),
            until: trial.until_at.clone(),
            before: texts(&trial.before),
            taken_back: trial.taken_back.as_ref().map(back),
        }
    }

    fn trial(self) -> Trial {
        let back = |back: Back| TakenBack {
            at: back.at,
            file: fragments(back.file),
        };
        Trial {
            before: fragments(self.before),
            begun: self.begun_ns,
            until: self.until_ns.max(self.begun_ns),
            begun_at: self.begun,
            until_at: self.until,
            taken_back: self.taken_back.map(back),
        }
    }
}

fn texts(fragments: &Fragments) -> Vec<FileText> {
    let text = fragments.iter().map(|fragment| FileText {
        path: fragment.origin().as_path().to_string_lossy().into_owned(),
        text: fragment.text().to_owned(),
    });
    text.collect()
}

fn fragments(texts: Vec<FileText>) -> Fragments {
    let texts = texts.into_iter();
    texts
        .map(|file| (Origin::new(file.path), file.text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn text(text: &str) -> Fragments {
        Fragments::from_iter([(Origin::new("mesh.toml"), text)])
    }

    #[test]
    fn a_trial_is_there_for_the_next_daemon_until_it_is_crossed_out() {
        let folder = tempfile::tempdir().unwrap();
        let book = TrialBook::new(folder.path());
        assert!(book.read().is_none());
        let mut trial = Trial::begin(text("# one"), 7, Duration::from_secs(60));
        book.write(&trial).unwrap();
        let read = book.read().unwrap();
        assert_eq!((read.begun, read.until), (7, 60_000_000_007));
        assert!(read.before.say_the_same_as(&text("# one")));
        assert!(read.taken_back.is_none());
        trial.taken_back = Some(TakenBack {
            at: "then".to_owned(),
            file: text("# two"),
        });
        book.write(&trial).unwrap();
        let back = book.read().unwrap().taken_back.unwrap();
        assert!(back.file.say_the_same_as(&text("# two")));
        assert!(!back.file.say_the_same_as(&text("# one")));
        book.cross_out().unwrap();
        book.cross_out().unwrap();
        assert!(book.read().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_no_trial() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(TrialBook::new(folder.path()).read().is_none());
    }
}
