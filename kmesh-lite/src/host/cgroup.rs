//! Cgroups: where v2 is mounted, what a unit's cgroup is, who else is attached.

use crate::model::{Cgroup, CgroupRef};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cgroup v2 is not mounted: mount it, or boot with systemd.unified_cgroup_hierarchy=1")]
    NotMounted,
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cgroup {path} is handled by another kmesh-lite{}", holder(.pid))]
    Taken { path: PathBuf, pid: Option<u32> },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}

/// A cgroup and those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    pub path: PathBuf,
    /// Of every cgroup from the root to this one.
    pub ids: Vec<u64>,
}

/// The cgroup v2 tree.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mount: PathBuf,
    /// False in a cgroup namespace, where paths do not tell depths.
    whole: bool,
}

impl Cgroups {
    /// Finds the mount; on hybrid systems it is not /sys/fs/cgroup.
    pub fn find() -> Result<Self, CgroupError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let table =
            fs::read_to_string(&path).map_err(|source| CgroupError::Read { path, source })?;
        let mount = mounts(&table, "cgroup2")
            .next()
            .ok_or(CgroupError::NotMounted)?;
        // The root of the whole hierarchy has inode 1; the root of a namespace has another.
        let whole = fs::metadata(&mount).is_ok_and(|root| root.ino() == 1);
        Ok(Self { mount, whole })
    }

    /// The tree below a folder.
    #[cfg(test)]
    pub fn at(mount: &Path) -> Self {
        Self {
            mount: mount.to_owned(),
            whole: true,
        }
    }

    /// Where cgroup v2 is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The folder of a cgroup, given by its path below the root or by its full path.
    pub fn folder(&self, path: &Path) -> PathBuf {
        self.mount.join(self.below(path))
    }

    /// The one spelling of a cgroup's path below the root, beginning with `/`.
    pub fn path(&self, path: &Path) -> PathBuf {
        Path::new("/").join(self.below(path)).components().collect()
    }

    fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.mount)
            .or_else(|_| path.strip_prefix("/"))
            .unwrap_or(path)
    }

    /// Opens a cgroup and locks it against other daemons for as long as the file stays open. None if the
    /// cgroup is gone, whether or not another one has its path.
    pub fn claim(&self, cgroup: &Cgroup) -> Result<Option<File>, CgroupError> {
        let path = self.folder(&cgroup.path);
        let open = |path: &Path| -> io::Result<(File, u64)> {
            let folder = File::open(path)?;
            let id = folder.metadata()?.ino();
            Ok((folder, id))
        };
        let folder = match open(&path) {
            Ok((folder, id)) if id == cgroup.id => folder,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CgroupError::Read { path, source }),
        };
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(fs::TryLockError::WouldBlock) => Err(CgroupError::Taken {
                path: cgroup.path.clone(),
                pid: lock_holder(&folder),
            }),
            Err(fs::TryLockError::Error(source)) => Err(CgroupError::Read { path, source }),
        }
    }

    /// What each of `references` names now. `enter` is called with every folder in which one of them
    /// can appear, before it is read: a caller that watches it from then on misses nothing.
    ///
    /// The cgroup of a unit is inside slices, never deeper: what is inside containers, services and a
    /// user's own systemd is theirs, has any name, and may be thousands. None of them can take the name of
    /// a unit of the host, and be treated as that unit.
    pub fn search(
        &self,
        references: &BTreeSet<CgroupRef>,
        mut enter: impl FnMut(&Path),
    ) -> BTreeMap<CgroupRef, Vec<Cgroup>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let (mut units, mut forms) = (BTreeMap::new(), Vec::new());
        for reference in references {
            let named = match reference {
                CgroupRef::Path(path) => self.step_down(path, &mut enter),
                CgroupRef::Unit(unit) => {
                    units.insert(OsStr::new(unit), reference);
                    None
                }
                CgroupRef::Units(_) => {
                    forms.push(reference);
                    None
                }
            };
            found.insert(reference.clone(), named.into_iter().collect());
        }
        let mut left = Vec::new();
        if !units.is_empty() || !forms.is_empty() {
            left.push(self.mount.clone());
        }
        while let Some(folder) = left.pop() {
            enter(&folder);
            // A cgroup may vanish while it is being read: then it has nothing to be found.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = entry.file_name();
                let fitting = forms.iter().filter(|form| {
                    let unit = name.to_str();
                    unit.is_some_and(|unit| form.names_unit(unit))
                });
                for unit in units.get(&*name).into_iter().chain(fitting) {
                    let named = self.identify(&entry.path());
                    found.entry((*unit).clone()).or_default().extend(named);
                }
                if has_units(&name) {
                    left.push(entry.path());
                }
            }
        }
        found
    }

    /// The cgroup that a name means, with those above it. None if it is not there. Of several, the first.
    pub fn lineage(&self, reference: &CgroupRef) -> Option<Lineage> {
        let found = self.search(&BTreeSet::from([reference.clone()]), |_| ());
        let path = found.into_values().flatten().next()?.path;
        let above = path.ancestors().collect::<Vec<_>>().into_iter().rev();
        let id = |path: &Path| Some(fs::metadata(self.folder(path)).ok()?.ino());
        Some(Lineage {
            ids: above.map(id).collect::<Option<_>>()?,
            path,
        })
    }

    /// Paths of the cgroups with these ids, as far as they are there and in sight.
    pub fn paths(&self, ids: impl Iterator<Item = u64>) -> BTreeMap<u64, PathBuf> {
        let mut wanted: BTreeSet<u64> = ids.filter(|id| *id != 0).collect();
        let mut found = BTreeMap::new();
        let mut folders = VecDeque::from([self.mount.clone()]);
        while let Some(folder) = folders.pop_front()
            && !wanted.is_empty()
        {
            // A cgroup may vanish while it is being read: then it has nothing to be found.
            if let Ok(about) = fs::metadata(&folder)
                && wanted.remove(&about.ino())
            {
                found.insert(about.ino(), self.path(&folder));
            }
            folders.extend(children(&folder));
        }
        found
    }

    /// The cgroups with these ids, as far as they are there and in sight, with those above them.
    pub fn lineages(&self, ids: impl Iterator<Item = u64>) -> BTreeMap<u64, Lineage> {
        let paths = self.paths(ids);
        let mut known: BTreeMap<PathBuf, Option<u64>> = BTreeMap::new();
        let mut id = |path: &Path| {
            let look = || Some(fs::metadata(self.folder(path)).ok()?.ino());
            *known.entry(path.to_owned()).or_insert_with(look)
        };
        let lineages = paths.into_iter().filter_map(|(own, path)| {
            let above = path.ancestors().collect::<Vec<_>>().into_iter().rev();
            let ids = above.map(&mut id).collect::<Option<_>>()?;
            Some((own, Lineage { path, ids }))
        });
        lineages.collect()
    }

    fn step_down(&self, path: &Path, enter: &mut impl FnMut(&Path)) -> Option<Cgroup> {
        let mut folder = self.mount.clone();
        for part in self.below(path).components() {
            enter(&folder);
            folder.push(part);
            if !folder.is_dir() {
                return None;
            }
        }
        self.identify(&folder)
    }

    fn identify(&self, folder: &Path) -> Option<Cgroup> {
        let id = fs::metadata(folder).ok()?.ino();
        let below = folder.strip_prefix(&self.mount).ok()?;
        let depth = below.components().count() as u32;
        Some(Cgroup {
            path: Path::new("/").join(below),
            id,
            level: self.whole.then_some(depth),
        })
    }
}

/// Folders of the cgroups directly below one. It may vanish meanwhile: then it has none.
fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Whether units can be inside a cgroup of this name: it is a slice.
pub fn has_units(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".slice")
}

/// Mount points of a kind of file system, from the text of /proc/self/mountinfo (proc(5)).
pub fn mounts<'a>(table: &'a str, kind: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    table.lines().filter_map(move |line| {
        let (mount, source) = line.split_once(" - ")?;
        (source.split(' ').next() == Some(kind)).then(|| mount.split(' ').nth(4).map(unescape))?
    })
}

/// Blanks are written as octal escapes there.
fn unescape(text: &str) -> PathBuf {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
        .into()
}

/// The process that holds the lock, from /proc/locks: `1: FLOCK ADVISORY WRITE 123 00:1d:1 0 EOF`.
pub fn lock_holder(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let (major, minor) = (libc::major(device), libc::minor(device));
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = fields.as_slice() else {
            return None;
        };
        (*place == wanted).then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_wherever_it_is() {
        let table = "25 30 0:23 / /sys rw - sysfs sysfs rw\n\
                     30 25 0:26 / /sys/fs/cgroup\\040x/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let found: Vec<_> = mounts(table, "cgroup2").collect();
        assert_eq!(found, [PathBuf::from("/sys/fs/cgroup x/unified")]);
        assert_eq!(mounts(table, "bpf").count(), 0);
    }

    #[test]
    fn a_cgroup_is_named_from_the_root_or_in_full() {
        let cgroups = Cgroups {
            mount: "/sys/fs/cgroup".into(),
            whole: true,
        };
        let folder = PathBuf::from("/sys/fs/cgroup/kmesh.slice");
        for path in ["kmesh.slice", "/kmesh.slice", "/sys/fs/cgroup/kmesh.slice/"] {
            assert_eq!(cgroups.folder(Path::new(path)), folder);
        }
        for path in ["/", "/sys/fs/cgroup"] {
            assert_eq!(cgroups.folder(Path::new(path)), cgroups.mount);
        }
    }
}
