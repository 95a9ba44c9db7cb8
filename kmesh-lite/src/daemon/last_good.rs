//! The last good configuration, kept beyond this process.
//!
//! The file may be gone or broken when the daemon starts again. What the operator meant last is then
//! known from here: units are followed, drift is repaired, and a part of the configuration that is
//! missing is missed.

use crate::api::FileText;
use crate::config::{Fragments, Origin};
use crate::kernel::{Descriptors, Store};
use log::warn;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

#[cfg(test)]
impl Default for LastGood {
    /// Nothing is kept.
    fn default() -> Self {
        Self::take_over(&mut Vec::new(), Arc::new(crate::kernel::NoStore)).0
    }
}

/// Descriptors of ours have this and a number for a name; the highest number is the latest.
const NAME: &str = "kmesh-config-";

/// What is kept, and where.
pub struct LastGood {
    store: Arc<dyn Store>,
    number: u64,
    /// What the fragments that are kept were known by; none if another process kept them.
    revisions: Vec<(Origin, u64)>,
}

impl LastGood {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> (Self, Option<Fragments>) {
        let number = |name: &str| name.strip_prefix(NAME)?.parse::<u64>().ok();
        let mut kept: Vec<_> = left
            .extract_if(.., |(name, _)| number(name).is_some())
            .filter_map(|(name, fd)| Some((number(&name)?, File::from(fd))))
            .collect();
        kept.sort_by_key(|(number, _)| *number);
        let last = kept.pop();
        let this = Self {
            store,
            number: last.as_ref().map_or(0, |(number, _)| *number),
            revisions: Vec::new(),
        };
        // Left by a process that ended between two calls.
        for (number, _) in kept {
            this.release(number);
        }
        let fragments = last.and_then(|(_, file)| match read(file) {
            Ok(fragments) => Some(fragments),
            Err(error) => {
                warn!("cannot read the last good configuration of the process before: {error}");
                None
            }
        });
        (this, fragments)
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
        let next = self.number + 1;
        let kept = write(fragments)
            .and_then(|file| self.store.keep(&format!("{NAME}{next}"), file.as_fd()));
        if let Err(error) = kept {
            warn!("cannot keep the configuration beyond this process: {error}");
            return;
        }
        if self.number != 0 {
            self.release(self.number);
        }
        self.number = next;
        self.revisions = revisions;
    }

    fn release(&self, number: u64) {
        if let Err(error) = self.store.release(&format!("{NAME}{number}")) {
            warn!("cannot let go of an earlier configuration: {error}");
        }
    }
}

/// A file without a name, so that nothing is left of it when nobody holds it.
fn write(fragments: &Fragments) -> io::Result<File> {
    let file = File::from(memfd_create("kmesh-config", MFdFlags::MFD_CLOEXEC)?);
    let mut writer = BufWriter::new(file);
    // One after the other: together, their copies would be as large as the configuration.
    let mut before = "[";
    for fragment in fragments.iter() {
        writer.write_all(before.as_bytes())?;
        let text = FileText {
            path: fragment.origin().to_string(),
            text: fragment.text().to_owned(),
        };
        serde_json::to_writer(&mut writer, &text)?;
        before = ",";
    }
    writer.write_all(if before == "[" { b"[]" } else { b"]" })?;
    writer.flush()?;
    Ok(writer.into_inner()?)
}

fn read(mut file: File) -> io::Result<Fragments> {
    file.rewind()?;
    let texts: Vec<FileText> = serde_json::from_reader(BufReader::new(file))?;
    Ok(texts
        .into_iter()
        .map(|file| (Origin::new(file.path), file.text))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::NoStore;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::sync::Mutex;

    /// Keeps what it is given, as systemd does.
    #[derive(Default)]
    struct InMemory(Mutex<Vec<(String, OwnedFd)>>);

    impl Store for InMemory {
        fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
            let fd = fd.try_clone_to_owned()?;
            self.0.lock().unwrap().push((name.to_owned(), fd));
            Ok(())
        }

        fn release(&self, name: &str) -> io::Result<()> {
            self.0.lock().unwrap().retain(|(kept, _)| kept != name);
            Ok(())
        }
    }

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
        assert_eq!(kept.number, 7);
    }
}
