//! One daemon a socket.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The lock on a control socket: a locked file beside it that holds our pid. The kernel releases
/// it however the process ends; dropping it removes the file too.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Flock<File>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "kmesh-lite is running on {1} already {0}; a second one needs a --socket of its own, and cgroups of its own too",
        holder(*.pid), .socket.display()
    )]
    Held { socket: PathBuf, pid: Option<u32> },
    #[error("cannot create the folder of the control socket, {}", .path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{} is not a lock file that this user or the owner of its folder made, but {what}; remove it",
        .path.display()
    )]
    Foreign { path: PathBuf, what: &'static str },
    #[error("cannot open the lock file {}", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot lock {}", .path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// Whether it is only that the file system is full.
    pub fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::Folder { source, .. } | Self::Open { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Held { .. } | Self::Foreign { .. } | Self::Lock { .. } => false,
        }
    }
}

/// Makes the folder of a control socket, if it is missing.
pub fn make_folder(socket: &Path) -> Result<(), LockError> {
    let Some(folder) = socket.parent() else {
        return Ok(());
    };
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|source| LockError::Folder {
        path: folder.to_owned(),
        source,
    })
}

impl Lock {
    /// Takes the lock of `socket`, whose directory exists.
    pub fn acquire(socket: &Path) -> Result<Self, LockError> {
        let path = path(socket);
        loop {
            let file = open(&path)?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((file, Errno::EWOULDBLOCK)) => {
                    return Err(LockError::Held {
                        socket: socket.to_owned(),
                        pid: read(file),
                    });
                }
                Err((_, errno)) => {
                    return Err(LockError::Lock {
                        path,
                        source: errno.into(),
                    });
                }
            };
            // The previous holder may have removed the file between our open and our lock: then
            // what we hold is no longer what others would find.
            if !is_at(&file, &path) {
                continue;
            }
            if let Err(error) = write(&mut file) {
                // It is only read by people: the kernel knows the holder of a lock.
                log::warn!("cannot write our pid to {}: {error}", path.display());
            }
            return Ok(Self { path, file });
        }
    }

    /// Whether the file is still where others look for it.
    pub fn is_there(&self) -> bool {
        is_at(&self.file, &self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: nobody else can take it for theirs before it is gone. Somebody may have
        // removed it, and made another one.
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the lock of `socket` is.
pub fn path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// The process that holds the lock of `socket`, if this user may look.
pub fn holder_of(socket: &Path) -> Option<u32> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path(socket));
    crate::host::lock_holder(&file.ok()?)
}

/// Opens a lock file without following a link or waiting for a pipe, and makes sure that nothing of
/// anybody else is written to: who owns the folder may have put it there.
fn open(path: &Path) -> Result<File, LockError> {
    let failed = |source: io::Error| LockError::Open {
        path: path.to_owned(),
        source,
    };
    let foreign = |what| {
        Err(LockError::Foreign {
            path: path.to_owned(),
            what,
        })
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match file {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return foreign("a link"),
        file => file.map_err(failed)?,
    };
    let found = file.metadata().map_err(failed)?;
    let folder = path
        .parent()
        .map_or(Ok(None), |folder| folder.metadata().map(Some));
    let folder = folder.map_err(failed)?.map(|folder| folder.uid());
    let own = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        foreign("no file")
    } else if found.nlink() > 1 {
        foreign("a file that has another name too")
    } else if found.uid() != own && found.uid() != 0 && Some(found.uid()) != folder {
        foreign("a file of another user")
    } else {
        Ok(file)
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

fn read(mut file: File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "(pid unknown)".to_owned(), |pid| format!("(pid {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let first = Lock::acquire(&socket).unwrap();
        match Lock::acquire(&socket) {
            Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("expected the lock to be held, got {other:?}"),
        }
        drop(first);
        Lock::acquire(&socket).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_nobody_holds_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        fs::write(path(&socket), "4194304 left behind\n").unwrap();
        let _lock = Lock::acquire(&socket).unwrap();
        let text = fs::read_to_string(path(&socket)).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }

    #[test]
    fn what_somebody_put_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("shadow");
        fs::write(&victim, "root").unwrap();
        let socket = folder.path().join("control.sock");
        let lock = path(&socket);
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        let error = Lock::acquire(&socket).unwrap_err();
        assert!(error.to_string().contains("a link"), "{error}");
        fs::remove_file(&lock).unwrap();
        fs::hard_link(&victim, &lock).unwrap();
        let error = Lock::acquire(&socket).unwrap_err();
        assert!(error.to_string().contains("another name"), "{error}");
        fs::remove_file(&lock).unwrap();
        nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = Lock::acquire(&socket).unwrap_err();
        assert!(error.to_string().contains("no file"), "{error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "root");
    }
}
