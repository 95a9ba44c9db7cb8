//! Noticing that the configuration may have changed.
//!
//! In: the paths that it is read from. Out: a call, at least once after each change
//! of what those paths lead to, and rarely otherwise; and which drop-ins have changed, if that is all.
//!
//! A file counts as changed when its writer closes it or something is renamed to its place: between
//! truncating a file and closing it an editor shows an empty one, and an empty mesh is valid.

mod places;

use crate::host::WatchError;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use places::{DirectoryInterest, Places};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The watch on a file and its drop-ins. Dropping it ends its thread.
pub struct Watch {
    file: PathBuf,
    drop_ins: PathBuf,
    watcher: RecommendedWatcher,
    shared: Arc<WatchState>,
}

/// Whether more is to be expected of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// What is there now is what somebody meant: a writer closed it, or it was put there as a whole.
    Complete,
    /// It may be a step of several: something was removed, or made.
    Begun,
}

/// What has changed since somebody asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// More than drop-ins, or it is not known what.
    pub anything: bool,
    /// Names of drop-ins that are no links.
    pub drop_ins: BTreeSet<OsString>,
}

/// What the watcher's thread judges events by. Never locked while the watcher is asked for
/// something: it answers on the same thread.
#[derive(Default)]
struct WatchState {
    watched: Mutex<Watched>,
    touched: Mutex<Touched>,
    /// Paths that have been dealt with.
    #[cfg(test)]
    seen: Mutex<Vec<PathBuf>>,
}

type Watched = BTreeMap<PathBuf, WatchedInode>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct WatchedInode {
    inode: Inode,
    /// None: a file, of which everything matters.
    interest: Option<DirectoryInterest>,
}

/// Device and number: a watch stays with them when something else takes the path.
type Inode = (u64, u64);

struct Handler<F> {
    shared: Arc<WatchState>,
    changed: F,
    /// The watched file whose place was taken last. It tells of its own end as well.
    replaced: Option<PathBuf>,
}

/// What looking again at the paths has shown.
#[derive(Debug)]
pub struct Refreshed {
    /// They lead elsewhere than they did before.
    pub moved: bool,
    /// What cannot be watched; changes there are only found by the timer.
    pub blind: Vec<WatchError>,
}

impl Watch {
    /// Starts the thread that calls `changed`. Nothing is watched before the first
    /// [`refresh`](Self::refresh).
    pub fn new(
        file: &Path,
        drop_ins: &Path,
        changed: impl Fn(Completion) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let shared = Arc::<WatchState>::default();
        let handler = Handler {
            shared: Arc::clone(&shared),
            changed,
            replaced: None,
        };
        let watcher = RecommendedWatcher::new(handler, Config::default())
            .map_err(|error| WatchError::Start(cause(error)))?;
        Ok(Self {
            file: file.to_owned(),
            drop_ins: drop_ins.to_owned(),
            watcher,
            shared,
        })
    }

    /// What has changed since this was asked last. Ask before reading: what changes meanwhile is told next
    /// time.
    pub fn touched(&self) -> Touched {
        std::mem::take(&mut *self.shared.touched())
    }

    /// Follows the paths anew. Call it before reading them, so that a change during the reading is
    /// seen, and after it until nothing has moved, so that what was read is what is watched.
    pub fn refresh(&mut self) -> Refreshed {
        let places = Places::of(&self.file, &self.drop_ins);
        let directories = places.directories.into_iter().map(|(p, i)| (p, Some(i)));
        let files = places.files.into_iter().map(|path| (path, None));
        let mut now = Watched::new();
        // Gone since we looked, and what is above it may not be watched: we have to look again.
        let mut gone = false;
        for (path, interest) in directories.chain(files) {
            match inode(&path) {
                Ok(inode) => drop(now.insert(path, WatchedInode { inode, interest })),
                Err(_) => gone = true,
            }
        }
        let before = std::mem::replace(&mut *self.shared.watched(), now.clone());
        for (path, target) in &before {
            if now.get(path).is_none_or(|now| now.inode != target.inode) {
                // The watcher has dropped it already if it has seen it go.
                let _ = self.watcher.unwatch(path);
            }
        }
        let mut blind = Vec::new();
        for (path, target) in &now {
            // Also those from before: the watcher drops the watch of a path when something is
            // removed from there, even if that is old news and something else is there by now.
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(error) if is_absent(&error.kind) => gone = true,
                // When an unreadable file is mended, its folder tells.
                Err(error) if target.interest.is_none() && is_denied(&error.kind) => {}
                Err(error) => blind.push(blind_error(path, error)),
            }
        }
        Refreshed {
            moved: gone || before != now,
            blind,
        }
    }
}

fn blind_error(path: &Path, error: notify::Error) -> WatchError {
    let path = path.to_owned();
    match error.kind {
        ErrorKind::MaxFilesWatch => WatchError::Limit(path),
        _ => WatchError::Add {
            path,
            source: cause(error),
        },
    }
}

impl<F: Fn(Completion) + Send + 'static> notify::EventHandler for Handler<F> {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        let change = match &event {
            Ok(event) => self.judge(event),
            Err(error) => {
                log::debug!(error:%; "cannot read what inotify has to tell");
                self.shared.touched().anything = true;
                Some(Completion::Begun)
            }
        };
        if let Some(completion) = change {
            (self.changed)(completion);
        }
        #[cfg(test)]
        self.shared
            .seen
            .lock()
            .unwrap()
            .extend(event.into_iter().flat_map(|event| event.paths));
    }
}

impl<F> Handler<F> {
    /// What an event means, if it means anything.
    fn judge(&mut self, event: &notify::Event) -> Option<Completion> {
        use Completion::{Begun, Complete};
        let is_renamed = matches!(
            event.kind,
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
        );
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            // Nearly all that comes: reading, and writing that goes on.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => return None,
            EventKind::Create(_) if event.paths.iter().all(|path| is_empty_file(path)) => {
                return None;
            }
            _ => {}
        }
        let watched = self.shared.watched();
        let mut touched = self.shared.touched();
        // Events were lost.
        if event.need_rescan() {
            touched.anything = true;
            return Some(Begun);
        }
        let mut matters = false;
        for path in event.paths.iter().filter(|path| covers(&watched, path)) {
            matters = true;
            match drop_in(&watched, path) {
                Some(name) => drop(touched.drop_ins.insert(name.to_owned())),
                None => touched.anything = true,
            }
        }
        // Something that is renamed to another place has only gone.
        let place = event.paths.last().filter(|path| covers(&watched, path));
        let completion = match event.kind {
            EventKind::Access(_) => Complete,
            _ if is_renamed && place.is_some() => Complete,
            // The end of the file whose place was taken is no other change.
            EventKind::Modify(ModifyKind::Metadata(_)) | EventKind::Remove(_)
                if place.is_some() && self.replaced.as_ref() == place =>
            {
                Complete
            }
            _ => Begun,
        };
        if is_renamed {
            self.replaced = place.filter(|path| watched.contains_key(*path)).cloned();
        } else if !matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_))) {
            self.replaced = None;
        }
        matters.then_some(completion)
    }
}

impl WatchState {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something at `path` is watched, or awaited there.
fn covers(watched: &Watched, path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return watched.contains_key(path);
    };
    let interest = watched.get(folder).and_then(|it| it.interest.as_ref());
    watched.contains_key(path) || interest.is_some_and(|interest| interest.covers(name))
}

/// The name of a drop-in at `path`, if nothing else can be there that matters.
fn drop_in<'p>(watched: &Watched, path: &'p Path) -> Option<&'p OsStr> {
    let name = path.file_name()?;
    let interest = watched.get(path.parent()?)?.interest.as_ref()?;
    let is_plain = interest.drop_ins && !interest.names.contains(name);
    (is_plain && !watched.contains_key(path)).then_some(name)
}

/// A file that was just created and awaits its content: closing it will tell.
fn is_empty_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
}

fn inode(path: &Path) -> io::Result<Inode> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn is_absent(error: &ErrorKind) -> bool {
    match error {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
        _ => false,
    }
}

fn is_denied(error: &ErrorKind) -> bool {
    matches!(error, ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

/// Without the paths, which our own errors name.
fn cause(error: notify::Error) -> io::Error {
    match error.kind {
        ErrorKind::Io(error) => error,
        kind => io::Error::other(notify::Error::new(kind)),
    }
}

#[cfg(test)]
mod tests;
