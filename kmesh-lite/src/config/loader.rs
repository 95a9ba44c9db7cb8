//! Loading a configuration, and again when it changed.

use super::files::{self, Failure, LARGEST, Outcome, Seen};
use super::lower::{Lowered, lower};
use super::parse::{Parsed, parse};
use super::problem::{Problem, Problems, Severity};
use super::source::{Place, Source};
use crate::model::Mesh;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What lowering needs to know of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The hostname: what this node is called unless the file says otherwise.
    pub name: String,
    /// Addresses of its interfaces.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Names of the unit files that its systemd knows; none if that is unknown.
    pub unit_files: Option<BTreeSet<String>>,
}

/// Loads a main file and its drop-ins. Keeps what it parsed, so that a reload parses only files
/// that changed.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    cache: BTreeMap<PathBuf, (Seen, Arc<Parsed>)>,
}

/// What loading came to.
#[derive(Debug)]
pub struct Loaded {
    /// None if there is any error, or nothing to load.
    pub mesh: Option<Mesh>,
    pub problems: Problems,
    /// Errors about what is valid but cannot be run by this version: waypoints with a header.
    pub unsupported: Problems,
    /// The files that were read: the main file first, then drop-ins by name.
    pub files: Vec<PathBuf>,
    /// Whether there is a main file or any drop-in, good or bad.
    pub present: bool,
}

impl Loader {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cache: BTreeMap::new(),
        }
    }

    /// The main file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of drop-ins, which need not exist.
    pub fn folder(&self) -> PathBuf {
        files::folder(&self.path)
    }

    pub fn load(&mut self, host: &Host) -> Loaded {
        let mut problems = Vec::new();
        let mut paths = vec![self.path.clone()];
        match files::drop_ins(&self.path) {
            Ok(found) => paths.extend(found),
            Err((folder, failure)) => problems.push(failed(&folder, failure)),
        }
        let mut parsed = Vec::with_capacity(paths.len());
        let mut present = Vec::with_capacity(paths.len());
        let mut cache = BTreeMap::new();
        for path in paths {
            let old = self.cache.remove(&path);
            match self.load_one(&path, old) {
                Ok(Some((seen, file))) => {
                    parsed.push(Arc::clone(&file));
                    cache.insert(path.clone(), (seen, file));
                }
                Ok(None) => continue,
                Err(ignored) if ignored.severity != Severity::Error => {
                    problems.push(*ignored);
                    continue;
                }
                Err(problem) => problems.push(*problem),
            }
            present.push(path);
        }
        self.cache = cache;
        finish(&parsed, problems, present, host)
    }

    /// The texts of `files`, as they were when they were last loaded.
    pub fn texts(&self, files: &[PathBuf]) -> Vec<(PathBuf, String)> {
        let text = |path: &PathBuf| {
            let (_, parsed) = self.cache.get(path)?;
            Some((path.clone(), parsed.source.text().to_owned()))
        };
        files.iter().filter_map(text).collect()
    }

    /// Loads texts that somebody else has read, in the order of [`Loaded::files`].
    pub fn load_texts(texts: Vec<(PathBuf, String)>, host: &Host) -> Loaded {
        let mut problems = Vec::new();
        let mut parsed = Vec::with_capacity(texts.len());
        let mut present = Vec::with_capacity(texts.len());
        for (path, text) in texts {
            if text.len() as u64 > LARGEST {
                let size = format!("{} MiB", text.len() >> 20);
                problems.push(failed(&path, Failure::too_large(&size)));
            } else {
                parsed.push(Arc::new(parse_bytes(&path, text.into_bytes())));
            }
            present.push(path);
        }
        finish(&parsed, problems, present, host)
    }

    /// A file, parsed now or before; none if it does not exist.
    fn load_one(
        &self,
        path: &Path,
        old: Option<(Seen, Arc<Parsed>)>,
    ) -> Result<Option<(Seen, Arc<Parsed>)>, Box<Problem>> {
        match files::read(path, old.as_ref().map(|(seen, _)| *seen)) {
            Outcome::Absent => Ok(None),
            Outcome::Same => Ok(old),
            Outcome::Read(seen, bytes) => {
                let parsed = match old {
                    Some((_, parsed)) if parsed.source.text().as_bytes() == bytes => parsed,
                    _ => Arc::new(parse_bytes(path, bytes)),
                };
                Ok(Some((seen, parsed)))
            }
            Outcome::NotAFile(what) if path == self.path => Err(Box::new(
                Problem::unreadable(path, format!("this is {what}")).expected("a file"),
            )),
            // systemd's way to mask a drop-in is a link to /dev/null.
            Outcome::NotAFile(what) => {
                let message = format!("ignored: this is {what} and not a file");
                Err(Box::new(Problem::new(
                    Severity::Warning,
                    Place::whole(path),
                    message,
                )))
            }
            Outcome::Failed(failure) => Err(Box::new(failed(path, failure))),
        }
    }
}

/// What all files say together.
fn finish(
    parsed: &[Arc<Parsed>],
    mut problems: Vec<Problem>,
    present: Vec<PathBuf>,
    host: &Host,
) -> Loaded {
    // A file that could not be read may define what others refer to.
    let whole = problems.iter().all(|p| p.severity != Severity::Error)
        && parsed.iter().all(|file| file.whole);
    let Lowered {
        mesh,
        problems: lowered,
        unsupported,
    } = lower(parsed, host, whole);
    problems.extend(parsed.iter().flat_map(|file| file.problems.iter().cloned()));
    problems.extend(lowered);
    let problems = Problems::in_order(problems, &present);
    Loaded {
        mesh: (!present.is_empty() && !problems.has_errors()).then_some(mesh),
        unsupported: Problems::in_order(unsupported, &present),
        present: !present.is_empty() || problems.has_errors(),
        files: present,
        problems,
    }
}

fn failed(path: &Path, failure: Failure) -> Problem {
    Problem::unreadable(path, failure.message).help_if(failure.help)
}

fn parse_bytes(path: &Path, bytes: Vec<u8>) -> Parsed {
    debug_assert!(bytes.len() as u64 <= LARGEST, "spans have 32 bits");
    // No text has one, and the parser is slow on large files that are no text.
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        let source = Source::new(path, String::from_utf8_lossy(&bytes[..zero]));
        let end = source.text().len();
        let problem = Problem::error(
            &source,
            (end..end).into(),
            "this is not a text file: it has a zero byte",
        );
        return Parsed {
            source,
            text: None,
            problems: vec![problem],
            whole: false,
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&Source::new(path, text), Vec::new()),
        Err(error) => parse_invalid_utf8(path, error.as_bytes()),
    }
}

/// Says where the text is not UTF-8, and reads the rest, unless it is no text at all.
fn parse_invalid_utf8(path: &Path, bytes: &[u8]) -> Parsed {
    const A_FEW: usize = 20;
    let mut places = Vec::new();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            let start = text.len();
            text.push(char::REPLACEMENT_CHARACTER);
            places.push((start..text.len(), chunk.invalid().to_vec()));
        }
        if places.len() > A_FEW {
            break;
        }
    }
    let source = Source::new(path, text);
    let no_text = places.len() > A_FEW;
    if no_text {
        places.truncate(1);
    }
    let damage = places.into_iter().map(|(range, invalid)| {
        let message = match invalid.as_slice() {
            [byte] => format!("the byte 0x{byte:02x} is not UTF-8"),
            _ => "these bytes are not UTF-8".to_owned(),
        };
        Problem::error(&source, range.into(), message)
            .expected("text in UTF-8")
            .help("save the file in UTF-8")
    });
    let damage = damage.collect();
    if no_text {
        return Parsed {
            source,
            text: None,
            problems: damage,
            whole: false,
        };
    }
    parse(&source, damage)
}

#[cfg(test)]
mod tests;
