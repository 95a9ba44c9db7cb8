//! Something that is written down: it counts until it is crossed out, whatever is restarted.

use super::replace::replace;
use crate::api::FileText;
use crate::config::{Fragments, Origin};
use log::error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file. Without one, nothing is written down.
#[derive(Debug, Default)]
pub struct Book {
    path: Option<PathBuf>,
}

/// Why something could not be written down, or crossed out.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct BookError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Book {
    pub fn new(folder: &Path, file: &str) -> Self {
        Self {
            path: Some(folder.join(file)),
        }
    }

    /// What is written there.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let path = self.path.as_ref()?;
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                error!(
                    "cannot read {}, so it is not followed: {error}",
                    path.display()
                );
                return None;
            }
        };
        match serde_json::from_slice(&text) {
            Ok(entry) => Some(entry),
            Err(error) => {
                error!("{} is not followed: {error}", path.display());
                None
            }
        }
    }

    pub fn write(&self, entry: &impl Serialize) -> Result<(), BookError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let written = replace(path, |file| {
            let mut writer = BufWriter::new(file);
            serde_json::to_writer(&mut writer, entry)?;
            writer.flush()
        });
        written.map_err(|source| failed("write", path, source))
    }

    pub fn cross_out(&self) -> Result<(), BookError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", path, source))
            }
            _ => Ok(()),
        }
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> BookError {
    BookError {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// A configuration as it is written.
pub fn texts(fragments: &Fragments) -> Vec<FileText> {
    let text = |origin: &Origin| origin.as_path().to_string_lossy().into_owned();
    let texts = fragments.iter().map(|fragment| FileText {
        path: text(fragment.origin()),
        text: fragment.text().to_owned(),
    });
    texts.collect()
}

pub fn fragments(texts: Vec<FileText>) -> Fragments {
    let texts = texts.into_iter();
    texts
        .map(|file| (Origin::new(file.path), file.text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let book = Book::new(folder.path(), "book.json");
        assert_eq!(book.read::<u32>(), None);
        book.write(&7).unwrap();
        assert_eq!(book.read(), Some(7));
        assert_eq!(book.read::<String>(), None);
        book.cross_out().unwrap();
        book.cross_out().unwrap();
        assert_eq!(book.read::<u32>(), None);
    }
}
