//! A main file and its drop-ins as fragments.

use super::file::{self, FileContent, Version};
use super::watch::{Completion, Watch};
use crate::config::{
    Fragment, Fragments, Host, Loaded, Loader, Location, Origin, Problem, Severity, fragment,
};
use crate::host::WatchError;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often the paths may move while they are read before it is left to the next call.
const LOOKS: usize = 4;

/// The text of a file that stands elsewhere, or why there is none.
pub fn elsewhere(path: &Path) -> Result<Arc<Fragment>, Box<Problem>> {
    let origin = Origin::new(path);
    match file::read(path, None) {
        FileContent::Read(_, bytes) => fragment(origin, 0, bytes),
        FileContent::Failed(problem) => Err(problem),
        FileContent::NotAFile(what) => Err(Box::new(
            Problem::unreadable(origin, format!("this is {what}")).expected("a file"),
        )),
        FileContent::Absent | FileContent::Same => Err(Box::new(Problem::unreadable(
            origin,
            "this file does not exist",
        ))),
    }
}

/// Reads `mesh.toml` and the files in `mesh.d/` beside it, each again only when it changed.
pub struct Files {
    main: PathBuf,
    drop_ins: PathBuf,
    known: Known,
    /// Whether all that was read last are files that could be read. Then what was not told to have changed is as
    /// it was.
    plain: bool,
    /// How many texts were read.
    revision: u64,
    /// Whether the main file was there once.
    seen: bool,
    watch: Option<Watch>,
    blind: Vec<WatchError>,
    candidate: Option<Candidate>,
}

/// A file that was read.
type FileRead = (Version, Arc<Fragment>);

/// Files as they were read last.
#[derive(Default)]
struct Known {
    main: Option<FileRead>,
    /// By name, which is also their order.
    drop_ins: BTreeMap<OsString, FileRead>,
}

/// A drop-in that is judged before it is one.
struct Candidate {
    /// Where it would stand.
    place: PathBuf,
    fragment: Result<Arc<Fragment>, Box<Problem>>,
}

impl Files {
    /// `main` is absolute if the files are to be watched.
    pub fn new(main: impl Into<PathBuf>) -> Self {
        let main = main.into();
        Self {
            drop_ins: main.with_file_name("mesh.d"),
            main,
            known: Known::default(),
            plain: false,
            revision: 0,
            seen: false,
            watch: None,
            blind: Vec::new(),
            candidate: None,
        }
    }

    /// From now on `fragment` counts as the drop-in of this name, in place of one that is there. It keeps
    /// its own origin, which is where an operator can mend it.
    pub fn try_out(&mut self, name: &OsStr, fragment: Result<Arc<Fragment>, Box<Problem>>) {
        self.candidate = Some(Candidate {
            place: self.drop_ins.join(name),
            fragment,
        });
    }

    pub fn main(&self) -> &Path {
        &self.main
    }

    /// The folder of drop-ins, which need not exist.
    pub fn drop_ins(&self) -> &Path {
        &self.drop_ins
    }

    /// What the files mean, for users that load them once.
    pub fn load(&mut self, host: &Host) -> Loaded {
        Loader::default().load(&self.read(), host)
    }

    /// From now on `changed` is called whenever there may be something new to read.
    pub fn watch(
        &mut self,
        changed: impl Fn(Completion) + Send + 'static,
    ) -> Result<(), WatchError> {
        self.watch = Some(Watch::new(&self.main, &self.drop_ins, changed)?);
        Ok(())
    }

    /// The files as they are now. Where they are watched, what was read is what is watched.
    pub fn read(&mut self) -> Fragments {
        // All is read, so that nothing is left to be told.
        if let Some(watch) = &self.watch {
            watch.touched();
        }
        self.look_again();
        for _ in 1..LOOKS {
            let fragments = self.read_once();
            if !self.look_again() {
                return fragments;
            }
        }
        // Files that keep moving make another call when they move again: they are watched now.
        self.read_once()
    }

    /// The same after a call: if it told of some drop-ins only, no other file is looked at. A thousand drop-ins
    /// take milliseconds to look at, and one that is being written is left alone until its writer closes it.
    pub fn read_changed(&mut self) -> Fragments {
        let touched = self.watch.as_ref().map(Watch::touched);
        match touched {
            Some(touched) if self.plain && !touched.anything => self
                .read_some(&touched.drop_ins)
                .unwrap_or_else(|| self.read()),
            _ => self.read(),
        }
    }

    /// Whether something may have changed that no call told of: over a mount, or where inotify
    /// cannot see.
    pub fn may_have_changed(&mut self) -> bool {
        self.look_again() || !self.blind.is_empty()
    }

    /// What could not be watched at the last look.
    pub fn blind(&self) -> &[WatchError] {
        &self.blind
    }

    /// What an earlier process had read last: if the main file was among it, drop-ins alone are not all.
    pub fn expect(&mut self, origins: &[Origin]) {
        self.seen |= self.begins_with_main(origins);
    }

    fn begins_with_main(&self, origins: &[Origin]) -> bool {
        let first = origins.first();
        first.is_some_and(|origin| origin.as_path() == self.main)
    }

    /// Whether the paths lead elsewhere than they did at the last look.
    fn look_again(&mut self) -> bool {
        let Some(watch) = &mut self.watch else {
            return false;
        };
        let refreshed = watch.refresh();
        self.blind = refreshed.blind;
        refreshed.moved
    }

    fn read_once(&mut self) -> Fragments {
        let mut fragments = Fragments::default();
        let mut paths = vec![self.main.clone()];
        match file::drop_ins(&self.drop_ins) {
            Ok(found) => paths.extend(found),
            Err(problem) => fragments.problems.push(*problem),
        }
        if let Some(candidate) = &self.candidate {
            // The order of files is that of their names, with the main file first.
            let at = paths[1..].partition_point(|path| *path < candidate.place) + 1;
            if paths.get(at) != Some(&candidate.place) {
                paths.insert(at, candidate.place.clone());
            }
        }
        let mut before = std::mem::take(&mut self.known);
        self.plain = fragments.problems.is_empty() && self.candidate.is_none();
        for path in paths {
            if let Some(candidate) = self.candidate.as_ref().filter(|it| it.place == path) {
                fragments.push(candidate.fragment.clone());
                continue;
            }
            let name = path.file_name().filter(|_| path != self.main);
            let old = match name {
                Some(name) => before.drop_ins.remove(name),
                None => before.main.take(),
            };
            match self.read_file(&path, old) {
                Ok(None) => {}
                Ok(Some(read)) => {
                    fragments.push(Ok(Arc::clone(&read.1)));
                    match name {
                        Some(name) => drop(self.known.drop_ins.insert(name.to_owned(), read)),
                        None => self.known.main = Some(read),
                    }
                }
                Err(ignored) if ignored.severity != Severity::Error => {
                    self.plain = false;
                    fragments.problems.push(*ignored);
                }
                Err(problem) => {
                    self.plain = false;
                    fragments.push(Err(problem));
                }
            }
        }
        self.completed(fragments)
    }

    /// The drop-ins of these names as they are now, and everything else as it was. None if there is more to it.
    fn read_some(&mut self, names: &BTreeSet<OsString>) -> Option<Fragments> {
        for name in names.iter().filter(|name| file::is_drop_in(name)) {
            let path = self.drop_ins.join(name);
            // What a link leads to has to be watched.
            if path.is_symlink() {
                return None;
            }
            let old = self.known.drop_ins.remove(name);
            if let Some(read) = self.read_file(&path, old).ok()? {
                self.known.drop_ins.insert(name.clone(), read);
            }
        }
        let mut fragments = Fragments::default();
        let files = self.known.main.iter().chain(self.known.drop_ins.values());
        for (_, fragment) in files {
            fragments.push(Ok(Arc::clone(fragment)));
        }
        Some(self.completed(fragments))
    }

    /// With what is to be said of a main file that is not there.
    fn completed(&mut self, mut fragments: Fragments) -> Fragments {
        let has_main = self.begins_with_main(fragments.origins());
        self.seen |= has_main;
        // Without its main file a configuration that had one is not whole: drop-ins alone would
        // take away all that the main file said.
        fragments.incomplete = self.seen && !has_main;
        if !has_main && !self.seen && !fragments.origins().is_empty() {
            let location = Location::whole(Origin::new(&self.main));
            let message = "this file does not exist, and only drop-ins are read: a daemon that has read it keeps what it said";
            let problem = Problem::new(Severity::Note, location, message);
            fragments.problems.push(problem.help_if(Some(
                "put the file back, if there was one; it may be empty".to_owned(),
            )));
        }
        fragments
    }

    /// A file, read now or before; none if it does not exist.
    fn read_file(
        &mut self,
        path: &Path,
        old: Option<FileRead>,
    ) -> Result<Option<FileRead>, Box<Problem>> {
        let origin = || Origin::new(path);
        match file::read(path, old.as_ref().map(|(version, _)| *version)) {
            FileContent::Absent => Ok(None),
            FileContent::Same => Ok(old),
            FileContent::Read(version, bytes) => {
                let fragment = match old {
                    Some((_, fragment)) if fragment.text().as_bytes() == bytes => fragment,
                    _ => {
                        self.revision += 1;
                        fragment(origin(), self.revision, bytes)?
                    }
                };
                Ok(Some((version, fragment)))
            }
            FileContent::NotAFile(what) if path == self.main => Err(Box::new(
                Problem::unreadable(origin(), format!("this is {what}")).expected("a file"),
            )),
            // systemd's way to mask a drop-in is a link to /dev/null.
            FileContent::NotAFile(what) => {
                let message = format!("ignored: this is {what} and not a file");
                let location = Location::whole(origin());
                Err(Box::new(Problem::new(Severity::Warning, location, message)))
            }
            FileContent::Failed(problem) => Err(problem),
        }
    }
}

#[cfg(test)]
mod tests;
