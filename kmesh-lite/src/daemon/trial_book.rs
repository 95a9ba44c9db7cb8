//! A trial, written down: it goes on whatever is restarted, and what nobody confirmed is taken back.

use super::book::{Book, BookError, fragments, texts};
use super::trial::{TakenBack, Trial};
use crate::api::FileText;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where it is written.
#[derive(Debug, Default)]
pub struct TrialBook(Book);

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
        Self(Book::new(folder, "trial.json"))
    }

    pub fn read(&self) -> Option<Trial> {
        self.0.read().map(Entry::trial)
    }

    pub fn write(&self, trial: &Trial) -> Result<(), BookError> {
        self.0.write(&Entry::new(trial))
    }

    pub fn cross_out(&self) -> Result<(), BookError> {
        self.0.cross_out()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragments, Origin};
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
        assert!(book.read().is_none());
    }
}
