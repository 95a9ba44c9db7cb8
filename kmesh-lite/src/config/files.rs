//! Finding the files of a configuration and reading one: the only I/O here.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A larger file is not parsed. The parser needs about forty bytes of memory for each of text; a
/// hundred thousand endpoints take 6 MB, and larger meshes can be split into drop-ins.
pub const LARGEST: u64 = 32 * 1024 * 1024;

/// What identifies the content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether another write at this instant could leave the same times behind: the kernel's clock
    /// for them advances by a tick. Such a file is read again and compared.
    fn is_recent(&self) -> bool {
        const TICKS: Duration = Duration::from_millis(50);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (seconds, nanoseconds) = self.changed.max(self.modified);
        let (Ok(now), Ok(seconds), Ok(nanoseconds)) =
            (now, u64::try_from(seconds), u32::try_from(nanoseconds))
        else {
            return true;
        };
        now < Duration::new(seconds, nanoseconds) + TICKS
    }
}

/// A file that was read, and when that may be believed.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    stamp: Stamp,
    settled: bool,
}

/// What reading a file came to.
#[derive(Debug)]
pub enum Outcome {
    /// There is nothing at this path.
    Absent,
    /// The same as it was when `Seen` was handed out.
    Same,
    Read(Seen, Vec<u8>),
    /// Not a file at all, such as `/dev/null`.
    NotAFile(&'static str),
    Failed(Failure),
}

/// Why a file cannot be read, and what to do.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub help: Option<String>,
}

/// Reads `path` unless it is as it was `before`.
pub fn read(path: &Path, before: Option<Seen>) -> Outcome {
    match try_read(path, before) {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.symlink_metadata() {
            Ok(_) => Outcome::Failed(Failure {
                message: "this is a symbolic link to a file that does not exist".to_owned(),
                help: target(path),
            }),
            Err(_) => Outcome::Absent,
        },
        Err(error) => Outcome::Failed(Failure::new("read this file", path, &error)),
    }
}

fn try_read(path: &Path, before: Option<Seen>) -> io::Result<Outcome> {
    let meta = path.metadata()?;
    if let Some(not_a_file) = not_a_file(&meta) {
        return Ok(Outcome::NotAFile(not_a_file));
    }
    if before.is_some_and(|seen| seen.settled && seen.stamp == Stamp::of(&meta)) {
        return Ok(Outcome::Same);
    }
    // It may have become a pipe meanwhile, and opening that would wait for a writer.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if let Some(not_a_file) = not_a_file(&meta) {
        return Ok(Outcome::NotAFile(not_a_file));
    }
    let too_large = |size: &str| Outcome::Failed(Failure::too_large(size));
    if meta.size() > LARGEST {
        return Ok(too_large(&format!("{} MiB", meta.size() >> 20)));
    }
    let bytes = read_up_to(&mut file, meta.size(), LARGEST + 1)?;
    if bytes.len() as u64 > LARGEST {
        return Ok(too_large("grown while it was read"));
    }
    let stamp = Stamp::of(&meta);
    let settled = !stamp.is_recent();
    Ok(Outcome::Read(Seen { stamp, settled }, bytes))
}

fn read_up_to(file: &mut File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size + 1).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_a_file(meta: &Metadata) -> Option<&'static str> {
    if meta.is_dir() {
        Some("a directory")
    } else if !meta.is_file() {
        Some("a device, pipe or socket")
    } else {
        None
    }
}

/// Where a symbolic link points, as help.
fn target(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    Some(format!("it points to `{}`", target.display()))
}

impl Failure {
    /// `size` follows "this file has".
    pub fn too_large(size: &str) -> Self {
        Self {
            message: format!(
                "this file has {size}; the largest that is read has {} MiB",
                LARGEST >> 20
            ),
            help: Some("split a large mesh into files in `mesh.d/`".to_owned()),
        }
    }

    pub fn new(operation: &str, path: &Path, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::PermissionDenied => Some(
                "make it and the folders above readable for the user that kmesh-lite runs as"
                    .to_owned(),
            ),
            _ if error.raw_os_error() == Some(nix::libc::ELOOP) => target(path),
            _ => None,
        };
        Self {
            message: format!("cannot {operation}: {}", Reason(error)),
            help,
        }
    }
}

/// The operating system's words for an error, in the case of ours.
struct Reason<'a>(&'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(code) => {
                let text = nix::errno::Errno::from_raw(code).desc();
                f.write_str(&text.to_lowercase())
            }
            None => self.0.fmt(f),
        }
    }
}

/// The drop-ins beside `main`, sorted by name. An absent folder holds none.
pub fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, (PathBuf, Failure)> {
    let folder = folder(main);
    let failed = |error: io::Error| {
        (
            folder.clone(),
            Failure::new("list this folder", &folder, &error),
        )
    };
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
            found.push(folder.join(name));
        }
    }
    found.sort();
    Ok(found)
}

/// `mesh.d/` beside `main`.
pub fn folder(main: &Path) -> PathBuf {
    main.with_file_name("mesh.d")
}
