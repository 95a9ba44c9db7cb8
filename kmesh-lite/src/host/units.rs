//! Noticing that a unit which the mesh names has got another cgroup, or lost it.
//!
//! In: the names that the mesh has for cgroups. Out: a call after a cgroup of such a name, or one that
//! can hold such a cgroup, has come or gone.
//!
//! A unit that is restarted gets a new cgroup. Until the kernel knows it, the unit's connections are
//! ordinary ones, and a proxy's own are sent back to it. So the timer is too slow.
//!
//! Only the folders in which a unit can appear are watched, and only for what is made and removed in
//! them: the files of a cgroup are read and written all the time.

use super::{Cgroups, has_units};
use crate::model::{Cgroup, CgroupRef};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The watch on cgroups. Dropping it ends its thread.
pub struct Units {
    cgroups: Cgroups,
    shared: Arc<Shared>,
    /// One for each folder: the kernel gives the same one for the same folder.
    watched: Vec<WatchDescriptor>,
    seen: Seen,
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// Cgroups by what names them.
type Seen = BTreeMap<CgroupRef, Vec<Cgroup>>;

struct Shared {
    inotify: Inotify,
    interest: Mutex<Interest>,
    /// An event is on its way that nobody has looked into.
    told: AtomicBool,
}

/// Names that matter, wherever they appear.
#[derive(Default)]
struct Interest {
    names: BTreeSet<OsString>,
    /// Forms of names of units.
    forms: Vec<CgroupRef>,
    /// Whether units are among them: then every slice does.
    units: bool,
}

/// Why changes go unnoticed.
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

impl Interest {
    fn covers(&self, name: &OsStr) -> bool {
        let fits = |form: &CgroupRef| name.to_str().is_some_and(|unit| form.names_unit(unit));
        self.names.contains(name) || (self.units && has_units(name)) || self.forms.iter().any(fits)
    }
}

/// What looking at the cgroups has shown.
#[derive(Debug)]
pub struct Looked {
    /// Every cgroup of the names.
    pub found: BTreeMap<CgroupRef, Vec<Cgroup>>,
    /// Names whose cgroups have come or gone since the last look.
    pub changed: Vec<Change>,
    /// What cannot be watched; changes there are only found by the timer.
    pub blind: Vec<WatchError>,
}

/// One thing that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: CgroupRef,
    /// Whether it was known before.
    pub before: bool,
    /// Whether a cgroup has come, rather than only gone.
    pub has_begun: bool,
    pub found: Vec<Cgroup>,
}

impl Units {
    /// Starts the thread that calls `changed`, until that answers false. Nothing is watched before
    /// the first [`look`](Self::look).
    pub fn new(
        cgroups: Cgroups,
        changed: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self, WatchError> {
        let start = |error| WatchError::Start(error);
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags).map_err(|errno| start(errno.into()))?;
        let shared = Arc::new(Shared {
            inotify,
            interest: Mutex::default(),
            told: AtomicBool::new(false),
        });
        let (stopped, stop) = io::pipe().map_err(start)?;
        let reader = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("units".to_owned())
            .spawn(move || reader.read(&changed, &stopped))
            .map_err(start)?;
        Ok(Self {
            cgroups,
            shared,
            watched: Vec::new(),
            seen: Seen::new(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The tree that is watched.
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Looks for what is named, and watches where it can appear from now on. Call it before
    /// anything acts upon where units are: what changes afterwards is an event.
    pub fn look(&mut self, named: impl IntoIterator<Item = CgroupRef>) -> Looked {
        let named: BTreeSet<_> = named.into_iter().collect();
        let interest = Interest::of(&named);
        *self
            .shared
            .interest
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = interest;
        self.shared.told.store(false, Ordering::SeqCst);
        let mut watched = Vec::new();
        let mut blind = Vec::new();
        let found = self
            .cgroups
            .search(&named, |folder| match self.shared.watch(folder) {
                Ok(Some(descriptor)) => watched.push(descriptor),
                // It has gone, and the folder above tells.
                Ok(None) => {}
                Err(error) => blind.push(error),
            });
        for gone in self.watched.iter().filter(|old| !watched.contains(old)) {
            // A cgroup that was removed keeps its watch until it is taken away.
            let _ = self.shared.inotify.rm_watch(*gone);
        }
        self.watched = watched;
        let before = std::mem::replace(&mut self.seen, found.clone());
        let changed = self.seen.iter().filter_map(|(name, found)| {
            let old = before.get(name);
            (old != Some(found)).then(|| Change {
                name: name.clone(),
                before: old.is_some(),
                has_begun: found
                    .iter()
                    .any(|it| old.is_none_or(|old| !old.contains(it))),
                found: found.clone(),
            })
        });
        Looked {
            changed: changed.collect(),
            found,
            blind,
        }
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that watches cgroups panicked");
        }
    }
}

impl Interest {
    fn of(named: &BTreeSet<CgroupRef>) -> Self {
        let mut interest = Self::default();
        for name in named {
            match name {
                CgroupRef::Unit(unit) => {
                    interest.units = true;
                    interest.names.insert(unit.into());
                }
                CgroupRef::Units(_) => {
                    interest.units = true;
                    interest.forms.push(name.clone());
                }
                CgroupRef::Path(path) => interest.names.extend(path.iter().map(OsStr::to_owned)),
            }
        }
        interest
    }
}

impl Shared {
    fn watch(&self, folder: &Path) -> Result<Option<WatchDescriptor>, WatchError> {
        let what = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(folder, what) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV) => Ok(None),
            Err(Errno::ENOSPC) => Err(WatchError::Limit(folder.to_owned())),
            Err(errno) => Err(WatchError::Add {
                path: folder.to_owned(),
                source: errno.into(),
            }),
        }
    }

    fn read(&self, changed: &impl Fn() -> bool, stopped: &PipeReader) {
        loop {
            let happened = match self.inotify.read_events() {
                Ok(happened) => happened,
                Err(Errno::EAGAIN | Errno::EINTR) => Vec::new(),
                Err(errno) => return log::error!("cannot watch cgroups any more: {errno}"),
            };
            if happened.iter().any(|event| self.matters(event))
                && !self.told.swap(true, Ordering::SeqCst)
                && !changed()
            {
                return;
            }
            let mut wait = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wait, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(errno) => return log::error!("cannot watch cgroups any more: {errno}"),
                Ok(_) if wait[1].any() == Some(true) => return,
                Ok(_) => {}
            }
        }
    }

    fn matters(&self, event: &InotifyEvent) -> bool {
        // Events were lost.
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let interest = self.interest.lock();
        let interest = interest.unwrap_or_else(PoisonError::into_inner);
        let name = event.name.as_ref();
        name.is_some_and(|name| interest.covers(name))
    }
}

#[cfg(test)]
mod tests;
