//! The last good configuration, kept beyond this process.
//!
//! The file may be gone or broken when the daemon starts again. What the operator meant last is then
//! known from here: units are followed, drift is repaired, and a part of the configuration that is
//! missing is missed.

use super::kept::Kept;
use crate::api::FileText;
use crate::config::{Fragments, Origin};
use crate::kernel::{Descriptors, Store};
use log::warn;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::sync::Arc;

#[cfg(test)]
impl Default for LastGood {
    /// Nothing is kept.
    fn default() -> Self {
        Self::take_over(&mut Vec::new(), Arc::new(crate::kernel::NoStore)).0
    }
}

const NAME: &str = "kmesh-config-";

/// What is kept, and where.
pub struct LastGood {
    kept: Kept,
    /// What the fragments that are kept were known by; none if another process kept them.
    revisions: Vec<(Origin, u64)>,
}

impl LastGood {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> (Self, Option<Fragments>) {
        let (kept, file) = Kept::take_over(left, store, NAME);
        let this = Self {
            kept,
            revisions: Vec::new(),
        };
        let fragments = file.and_then(|file| match read(file) {
            Ok(fragments) => Some(fragments),
            Err(error) => {
                warn!("cannot read the last good configuration of the process before: {error}");
                None
            }
        });
        (this, fragments)
    }

    /// Keeps fragments that need not be of the source: their revisions say nothing.
    pub fn keep_again(&mut self, fragments: &Fragments) {
        self.revisions.clear();
        self.keep(fragments);
        self.revisions.clear();
    }

    /// Keeps these fragments in place of those before.
    pub fn keep(&mut self, fragments: &Fragments) {
        let revisions = fragments.iter();
        let revisions: Vec<_> = revisions
            .map(|it| (it.origin().clone(), it.revision()))
            .collect();
        if revisions == self.revisions {
            return;
        }
        match self.kept.keep(|to| write(fragments, to)) {
            Ok(()) => self.revisions = revisions,
            Err(error) => warn!("cannot keep the configuration beyond this process: {error}"),
        }
    }
}

fn write(fragments: &Fragments, to: &mut impl Write) -> io::Result<()> {
    // One after the other: together, their copies would be as large as the configuration.
    let mut before = "[";
    for fragment in fragments.iter() {
        to.write_all(before.as_bytes())?;
        let text = FileText {
            path: fragment.origin().to_string(),
            text: fragment.text().to_owned(),
        };
        serde_json::to_writer(&mut *to, &text)?;
        before = ",";
    }
    to.write_all(if before == "[" { b"[]" } else { b"]" })
}

fn read(file: File) -> io::Result<Fragments> {
    let texts: Vec<FileText> = serde_json::from_reader(BufReader::new(file))?;
    Ok(texts
        .into_iter()
        .map(|file| (Origin::new(file.path), file.text))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::kept::tests::InMemory;
    use crate::kernel::NoStore;

    fn fragments(text: &str) -> Fragments {
        [("mesh.toml", text), ("mesh.d/a.toml", "# a")]
            .map(|(origin, text)| (Origin::new(origin), text))
            .into_iter()
            .collect()
    }

    fn texts(fragments: &Fragments) -> Vec<(String, &str)> {
        let texts = fragments.iter();
        texts
            .map(|it| (it.origin().to_string(), it.text()))
            .collect()
    }

    #[test]
    fn the_latest_configuration_outlives_the_process() {
        let store = Arc::new(InMemory::default());
        let (mut kept, none) = LastGood::take_over(&mut Vec::new(), store.clone());
        assert!(none.is_none());
        for text in ["# one", "# two"] {
            // Fragments from a source have another revision for another text.
            kept.revisions.clear();
            kept.keep(&fragments(text));
        }
        let mut left = std::mem::take(&mut *store.0.lock().unwrap());
        assert_eq!(left.len(), 1);
        left.push((
            "web.socket".to_owned(),
            File::open("/dev/null").unwrap().into(),
        ));
        let (_, found) = LastGood::take_over(&mut left, store);
        assert_eq!(texts(&found.unwrap()), texts(&fragments("# two")));
        assert_eq!(left.len(), 1, "what is not ours is left");
    }

    #[test]
    fn what_cannot_be_read_is_as_if_nothing_had_been_kept() {
        let broken = File::open("/dev/null").unwrap();
        let mut left = vec![(format!("{NAME}7"), broken.into())];
        let (kept, none) = LastGood::take_over(&mut left, Arc::new(NoStore));
        assert!(none.is_none() && left.is_empty());
        drop(kept);
    }
}
