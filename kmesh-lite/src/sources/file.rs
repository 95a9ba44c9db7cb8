//! Finding the files of a configuration and reading one.

use crate::config::{LARGEST, Origin, Problem};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// A file that was read, and whether its stamp may be believed.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    stamp: Stamp,
    settled: bool,
}

/// What there is at the path of a file.
#[derive(Debug)]
pub enum FileContent {
    Absent,
    /// The same as in the version that was given.
    Same,
    Read(Version, Vec<u8>),
    /// Not a file at all, such as `/dev/null`.
    NotAFile(&'static str),
    Failed(Box<Problem>),
}

/// Reads `path` unless it is as it was `before`.
pub fn read(path: &Path, before: Option<Version>) -> FileContent {
    match try_read(path, before) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match dangling(path, "file") {
            Some(problem) => FileContent::Failed(problem),
            None => FileContent::Absent,
        },
        Err(error) => FileContent::Failed(failed("read this file", path, &error)),
    }
}

fn try_read(path: &Path, before: Option<Version>) -> io::Result<FileContent> {
    let meta = path.metadata()?;
    if let Some(not_a_file) = not_a_file(&meta) {
        return Ok(FileContent::NotAFile(not_a_file));
    }
    if before.is_some_and(|version| version.settled && version.stamp == Stamp::of(&meta)) {
        return Ok(FileContent::Same);
    }
    // It may have become a pipe meanwhile, and opening that would wait for a writer.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if let Some(not_a_file) = not_a_file(&meta) {
        return Ok(FileContent::NotAFile(not_a_file));
    }
    let too_large =
        |size: &str| FileContent::Failed(Box::new(Problem::too_large(Origin::new(path), size)));
    if meta.size() > LARGEST {
        return Ok(too_large(&format!("{} MiB", meta.size() >> 20)));
    }
    let bytes = read_up_to(&mut file, meta.size(), LARGEST + 1)?;
    if bytes.len() as u64 > LARGEST {
        return Ok(too_large("grown while it was read"));
    }
    let stamp = Stamp::of(&meta);
    let settled = !stamp.is_recent();
    Ok(FileContent::Read(Version { stamp, settled }, bytes))
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

/// The problem that a path is a symbolic link to nothing, if it is one.
fn dangling(path: &Path, what: &str) -> Option<Box<Problem>> {
    path.symlink_metadata().ok()?;
    let message = format!("this is a symbolic link to a {what} that does not exist");
    let problem = Problem::unreadable(Origin::new(path), message);
    Some(Box::new(problem.help_if(target(path))))
}

/// Where a symbolic link points, as help.
fn target(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    Some(format!("it points to `{}`", target.display()))
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> Box<Problem> {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => Some(
            "make it and the folders above readable for the user that kmesh-lite runs as; the packaged service sees \
             nothing below /home and /root"
                .to_owned(),
        ),
        _ if error.raw_os_error() == Some(nix::libc::ELOOP) => target(path),
        _ => None,
    };
    let message = format!("cannot {operation}: {}", Reason(error));
    Box::new(Problem::unreadable(Origin::new(path), message).help_if(help))
}

/// The operating system's text for an error, in lower case as our own texts are.
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

/// The drop-ins in a folder, sorted by name. An absent folder holds none; a link that leads nowhere is a
/// mistake.
pub fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    let failed = |error: io::Error| failed("list this folder", folder, &error);
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return dangling(folder, "folder").map_or(Ok(Vec::new()), Err);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if is_drop_in(&name) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether a file of this name in the folder of drop-ins is one.
pub fn is_drop_in(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.ends_with(b".toml") && !bytes.starts_with(b".")
}
