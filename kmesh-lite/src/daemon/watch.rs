//! Noticing that the configuration may have changed.
//!
//! In: the paths that it is read from. Out: [`Event::FileChanged`], at least once after each change
//! of what those paths lead to, and rarely otherwise. inotify is used directly, because a library
//! that also asks for `OPEN` would wake us for every file that any process opens in `/etc`.
//!
//! A file counts as changed when its writer closes it or something is renamed to its place: between
//! truncating a file and closing it an editor shows an empty one, and an empty mesh is valid.

mod places;

use super::event::Event;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags as Mask, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use places::{Interest, Places};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The watch on a file and its drop-ins.
pub struct Watch {
    file: PathBuf,
    drop_ins: PathBuf,
    shared: Arc<Shared>,
    /// Closing it ends the thread.
    _alive: UnixStream,
}

struct Shared {
    inotify: Inotify,
    watched: Mutex<Watched>,
    /// Names that have been dealt with.
    #[cfg(test)]
    seen: Mutex<Vec<std::ffi::OsString>>,
}

type Watched = HashMap<WatchDescriptor, Target>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Directory(PathBuf, Interest),
    File(PathBuf),
}

/// What looking again at the paths has shown.
#[derive(Debug)]
pub struct Refreshed {
    /// They lead elsewhere than they did before.
    pub moved: bool,
    /// What cannot be watched; changes there are only found by the timer.
    pub blind: Vec<WatchError>,
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("cannot start inotify")]
    Start(#[source] io::Error),
    #[error(
        "cannot watch {}: the limit on inotify watches is reached (sysctl fs.inotify.max_user_watches)",
        .0.display()
    )]
    Limit(PathBuf),
    #[error("cannot watch {}", .path.display())]
    Add {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Watch {
    /// Starts the thread that sends events. Nothing is watched before the first
    /// [`refresh`](Self::refresh).
    pub fn new(file: &Path, drop_ins: &Path, events: Sender<Event>) -> Result<Self, WatchError> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|errno| WatchError::Start(errno.into()))?;
        let (alive, ended) = UnixStream::pair().map_err(WatchError::Start)?;
        let shared = Arc::new(Shared {
            inotify,
            watched: Mutex::default(),
            #[cfg(test)]
            seen: Mutex::default(),
        });
        let reader = Arc::clone(&shared);
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || reader.run(&ended, &events))
            .map_err(WatchError::Start)?;
        Ok(Self {
            file: file.to_owned(),
            drop_ins: drop_ins.to_owned(),
            shared,
            _alive: alive,
        })
    }

    /// Follows the paths anew. Call it before reading them, so that a change during the reading is
    /// seen, and after it until nothing has moved, so that what was read is what is watched.
    pub fn refresh(&self) -> Refreshed {
        let places = Places::of(&self.file, &self.drop_ins);
        let mut now = Watched::new();
        let mut blind = Vec::new();
        let directories = places.directories.into_iter().map(|(path, interest)| {
            let mask = directory_mask(&interest);
            (path.clone(), mask, Target::Directory(path, interest))
        });
        let files = places
            .files
            .into_iter()
            .map(|path| (path.clone(), file_mask(), Target::File(path)));
        let mut watched = self.shared.watched();
        for (path, mask, target) in directories.chain(files) {
            // The same inode keeps its descriptor; another inode at the same path gets a new one.
            match self.shared.inotify.add_watch(&path, mask) {
                Ok(descriptor) => drop(now.insert(descriptor, target)),
                // Gone since we looked; its parent will tell.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::ENOSPC) => blind.push(WatchError::Limit(path)),
                // Above the file there may be directories that we can pass and not read.
                Err(Errno::EACCES) if matches!(&target, Target::Directory(_, interest) if !interest.content) =>
                    {}
                Err(errno) => blind.push(WatchError::Add {
                    path,
                    source: errno.into(),
                }),
            }
        }
        for (descriptor, _) in watched.iter() {
            if !now.contains_key(descriptor) {
                // It is gone already if its inode is.
                let _ = self.shared.inotify.rm_watch(*descriptor);
            }
        }
        let moved = *watched != now;
        *watched = now;
        Refreshed { moved, blind }
    }
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, ended: &UnixStream, events: &Sender<Event>) {
        loop {
            let mut ready = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
            if ready[1].any().unwrap_or(true) {
                return;
            }
            let changes = match self.inotify.read_events() {
                Ok(changes) => changes,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(_) => return,
            };
            if changes.iter().any(|change| self.matters(change))
                && events.send(Event::FileChanged).is_err()
            {
                return;
            }
            #[cfg(test)]
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(changes.into_iter().filter_map(|change| change.name));
        }
    }

    fn matters(&self, change: &InotifyEvent) -> bool {
        if change.mask.contains(Mask::IN_Q_OVERFLOW) {
            return true;
        }
        let watched = self.watched();
        // Also every IN_IGNORED that follows our own rm_watch.
        let Some(target) = watched.get(&change.wd) else {
            return false;
        };
        match (target, &change.name) {
            (Target::Directory(path, interest), Some(name)) => {
                interest.covers(name)
                    && !(change.mask.contains(Mask::IN_CREATE) && is_empty_file(&path.join(name)))
            }
            (Target::Directory(..) | Target::File(_), _) => true,
        }
    }
}

/// A file that was just created and awaits its content: closing it will tell.
fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
}

fn directory_mask(interest: &Interest) -> Mask {
    let names = Mask::IN_CREATE | Mask::IN_DELETE | Mask::IN_MOVED_FROM | Mask::IN_MOVED_TO;
    let itself = Mask::IN_DELETE_SELF | Mask::IN_MOVE_SELF | Mask::IN_ONLYDIR;
    let content = if interest.content {
        Mask::IN_CLOSE_WRITE
    } else {
        Mask::empty()
    };
    names | itself | content | Mask::IN_ATTRIB
}

fn file_mask() -> Mask {
    Mask::IN_CLOSE_WRITE | Mask::IN_ATTRIB | Mask::IN_DELETE_SELF | Mask::IN_MOVE_SELF
}

#[cfg(test)]
mod tests;
