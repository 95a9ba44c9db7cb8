//! Files in PEM, and whether they are still the same.

use super::Failed;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of a file, in bytes. What distributions trust is 250 kB.
const MOST: u64 = 4 * 1024 * 1024;

/// What tells a file from the one that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn new(metadata: &fs::Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| Self::new(&metadata) == *self)
    }
}

/// The content of a file, which has to be a short one.
pub fn read(path: &Path) -> Result<(Stamp, Vec<u8>), Failed> {
    let words = |error: io::Error| {
        let why = super::super::socket::words(&error);
        format!("the agent cannot read {}: {why}", path.display())
    };
    // A device or a pipe could keep us for ever, by opening it already.
    if !fs::metadata(path).map_err(words)?.is_file() {
        return Err(format!("{} is no file", path.display()).into());
    }
    let file = File::open(path).map_err(words)?;
    let stamp = Stamp::new(&file.metadata().map_err(words)?);
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).map_err(words)?;
    Ok((stamp, text))
}
