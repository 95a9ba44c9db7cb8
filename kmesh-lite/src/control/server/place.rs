//! The files of the control socket: its folder, its lock and the socket itself.
//!
//! Whoever owns the folder can put anything there, and the daemon may be root: nothing here follows
//! a link that is the last part of a path.

use super::ControlError;
use crate::control::lock::{Lock, make_folder};
use log::{info, warn};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Read and write for the owner and the group.
const MODE: u32 = 0o660;

/// The files as they should be, as far as there was room for them.
pub struct Place {
    path: PathBuf,
    lock: Option<Lock>,
    /// Device and inode of our socket.
    bound: Option<(u64, u64)>,
    /// What the log has said is in the way.
    said: Option<String>,
}

impl Place {
    pub fn new(path: &Path, lock: Option<Lock>) -> Self {
        Self {
            path: path.to_owned(),
            lock,
            bound: None,
            said: None,
        }
    }

    /// Makes what is missing. Gives the socket if that was.
    pub fn mend(&mut self) -> Result<Option<UnixListener>, ControlError> {
        if !self.lock.as_ref().is_some_and(Lock::is_there) {
            make_folder(&self.path)?;
            self.lock = Some(Lock::acquire(&self.path)?);
        }
        let found = fs::symlink_metadata(&self.path).ok();
        if self.bound.is_some() && found.map(|it| (it.dev(), it.ino())) == self.bound {
            return Ok(None);
        }
        let (listener, file) = bind(&self.path)?;
        self.bound = Some((file.dev(), file.ino()));
        Ok(Some(listener))
    }

    /// The group that may read: that of the socket, which root may have changed.
    pub fn group(&self) -> u32 {
        let found = fs::symlink_metadata(&self.path).ok();
        let ours = found.filter(|it| Some((it.dev(), it.ino())) == self.bound);
        ours.map_or_else(|| nix::unistd::getegid().as_raw(), |it| it.gid())
    }

    /// The same where nobody waits for the outcome: the log tells, once.
    pub fn mend_later(&mut self) -> Option<UnixListener> {
        let before = self.bound;
        match self.mend() {
            Ok(made) => {
                if made.is_some() {
                    let path = self.path.display();
                    match before {
                        Some(_) => warn!("somebody removed {path}; it has been made anew"),
                        None => info!("{path} can be made now"),
                    }
                }
                self.said = None;
                made
            }
            Err(error) => {
                let text = crate::log::chain(&error);
                if self.said.as_ref() != Some(&text) {
                    warn!("there is no control socket, which is tried again: {text}");
                }
                self.said = Some(text);
                None
            }
        }
    }

    /// Removes the socket, and gives the lock to who lets go of the rest.
    pub fn leave(self) -> Option<Lock> {
        let found = fs::symlink_metadata(&self.path).ok();
        if found.is_some_and(|it| Some((it.dev(), it.ino())) == self.bound) {
            let _ = fs::remove_file(&self.path);
        }
        self.lock
    }
}

/// Listens on `path`, whose lock we hold: a socket that is there is stale.
fn bind(path: &Path) -> Result<(UnixListener, fs::Metadata), ControlError> {
    remove_stale(path)?;
    let listen = |source| ControlError::Listen {
        path: path.to_owned(),
        source,
    };
    let listener = UnixListener::bind(path).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let file = restrict(path).map_err(listen)?;
    Ok((listener, file))
}

/// Gives the socket its mode, and nothing else that may be in its place by now.
fn restrict(path: &Path) -> io::Result<fs::Metadata> {
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    let found = file.metadata()?;
    let own = nix::unistd::geteuid().as_raw();
    if !found.file_type().is_socket() || found.uid() != own {
        return Err(io::Error::other("somebody put something else there"));
    }
    // The only way to change the mode of what such a descriptor stands for.
    let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(by_descriptor, Permissions::from_mode(MODE))?;
    Ok(found)
}

fn remove_stale(path: &Path) -> Result<(), ControlError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(ControlError::Occupied(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(|source| ControlError::Remove {
            path: path.to_owned(),
            source,
        }),
        // Absent, or bind will say what is wrong.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/control.sock");
        let mut place = Place::new(&path, None);
        let first = place.mend().unwrap().unwrap();
        assert!(place.mend().unwrap().is_none());
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        assert_eq!(mode, MODE);

        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        let second = place.mend().unwrap().unwrap();
        drop((first, second));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        drop(place.leave());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }
}
