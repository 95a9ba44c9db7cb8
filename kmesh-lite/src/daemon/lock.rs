//! One daemon a socket.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The lock on a control socket: a locked file beside it that holds our pid. The kernel releases
/// it however the process ends; dropping it removes the file too.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another kmesh-lite {} is running on {}; stop it first, or give this one a --socket of its own",
        holder(*.pid), .socket.display()
    )]
    Held { socket: PathBuf, pid: Option<u32> },
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
    #[error("cannot write our pid to {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of `socket`, whose directory exists.
    pub fn acquire(socket: &Path) -> Result<Self, LockError> {
        let path = path(socket);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(&path)
                .map_err(|source| LockError::Open {
                    path: path.clone(),
                    source,
                })?;
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
            return match write(&mut file) {
                Ok(()) => Ok(Self { path, _file: file }),
                Err(source) => Err(LockError::Write { path, source }),
            };
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked: nobody else can take it for theirs before it is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// Where the lock of `socket` is.
pub fn path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), fs::metadata(path)) else {
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
}
