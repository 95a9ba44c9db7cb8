//! Where to look so that no change of a path goes unseen.
//!
//! Few directories are watched, because a watcher is woken by every process that opens a file in one,
//! and `/etc` is busy. They are the directory of the file, the folder of drop-ins, and each directory
//! that holds a link of a chain. A directory farther up is watched only while the path below it does
//! not exist. A directory tells of its own removal; the timer finds that one farther up was renamed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Directories, without symbolic links in their paths, and what matters in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub directories: BTreeMap<PathBuf, DirectoryInterest>,
    /// Regular files at the end of a chain: a file that is mounted by itself changes without its
    /// directory here noticing.
    pub files: BTreeSet<PathBuf>,
}

/// What matters in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryInterest {
    pub names: BTreeSet<OsString>,
    /// Any `.toml` in it matters.
    pub drop_ins: bool,
    /// It is not merely passed through.
    needed: bool,
}

impl DirectoryInterest {
    pub fn covers(&self, name: &OsStr) -> bool {
        self.names.contains(name) || (self.drop_ins && is_drop_in(name))
    }
}

impl Places {
    /// Places to look at for a file and for a folder of drop-ins, as things are now.
    pub fn of(file: &Path, drop_ins: &Path) -> Self {
        let mut places = Self::default();
        places.walk(file);
        if let Some(folder) = places.walk(drop_ins) {
            places.look_for_drop_ins(&folder);
        }
        places.directories.retain(|_, interest| interest.needed);
        places
    }

    fn look_for_drop_ins(&mut self, folder: &Path) {
        self.directories
            .entry(folder.to_owned())
            .or_default()
            .drop_ins = true;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            // Regular files are covered by their folder, however many there are.
            if link && is_drop_in(&entry.file_name()) {
                self.walk(&entry.path());
            }
        }
    }

    /// Follows a path as the kernel would. Each directory in which a name is looked up may be a
    /// place, each name looked up an interest: a link that is swapped, a directory that is renamed
    /// away and a part that does not exist yet are all one case. Gives the directory that the path
    /// leads to, if it is one.
    fn walk(&mut self, path: &Path) -> Option<PathBuf> {
        let mut here = PathBuf::from("/");
        let mut left: VecDeque<OsString> = parts(path).collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let kind = fs::symlink_metadata(&next).map(|found| found.file_type());
            let interest = self.directories.entry(here.clone()).or_default();
            interest.names.insert(name);
            interest.needed |= match &kind {
                Err(_) => true,
                Ok(kind) if kind.is_symlink() || kind.is_file() => true,
                Ok(kind) if kind.is_dir() => false,
                // A drop-in is masked by a link to /dev/null, and /dev is as busy as can be.
                Ok(_) => links == 0,
            };
            let kind = kind.ok()?;
            if kind.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                let target = fs::read_link(&next).ok()?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    left.push_front(part);
                }
            } else if kind.is_dir() {
                here = next;
            } else {
                if kind.is_file() {
                    self.files.insert(next);
                }
                return None;
            }
        }
        self.directories.entry(here.clone()).or_default().needed = true;
        Some(here)
    }
}

/// The names in a path; `..` among them, because it counts after a link.
fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn is_drop_in(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names<'a>(places: &'a Places, directory: &Path) -> Vec<&'a str> {
        places.directories[directory]
            .names
            .iter()
            .map(|name| name.to_str().unwrap())
            .collect()
    }

    #[test]
    fn every_link_of_a_chain_is_looked_up_somewhere() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("etc/..v1")).unwrap();
        fs::write(root.join("etc/..v1/mesh.toml"), "").unwrap();
        symlink("..v1", root.join("etc/..data")).unwrap();
        symlink("..data/mesh.toml", root.join("etc/mesh.toml")).unwrap();
        let places = Places::of(&root.join("etc/mesh.toml"), &root.join("etc/mesh.d"));
        assert_eq!(
            names(&places, &root.join("etc")),
            ["..data", "..v1", "mesh.d", "mesh.toml"]
        );
        assert_eq!(names(&places, &root.join("etc/..v1")), ["mesh.toml"]);
        assert!(places.files.contains(&root.join("etc/..v1/mesh.toml")));
    }

    #[test]
    fn what_is_missing_is_awaited_in_the_nearest_directory_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let places = Places::of(&root.join("a/b/mesh.toml"), &root.join("a/b/mesh.d"));
        assert_eq!(names(&places, &root), ["a"]);
        assert!(!places.directories.contains_key(&root.join("a")));
    }

    #[test]
    fn directories_that_only_lead_somewhere_are_no_places() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("etc/kmesh/mesh.d")).unwrap();
        fs::write(root.join("etc/kmesh/mesh.toml"), "").unwrap();
        let of = || {
            let kmesh = root.join("etc/kmesh");
            let places = Places::of(&kmesh.join("mesh.toml"), &kmesh.join("mesh.d"));
            places.directories.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(
            of(),
            [root.join("etc/kmesh"), root.join("etc/kmesh/mesh.d")]
        );
        fs::remove_dir_all(root.join("etc/kmesh")).unwrap();
        assert_eq!(of(), [root.join("etc")]);
        fs::create_dir(root.join("real")).unwrap();
        symlink("../real", root.join("etc/kmesh")).unwrap();
        assert_eq!(of(), [root.join("etc"), root.join("real")]);
    }

    #[test]
    fn a_masked_drop_in_does_not_make_a_place_of_dev() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("mesh.d")).unwrap();
        symlink("/dev/null", root.join("mesh.d/a.toml")).unwrap();
        let places = Places::of(&root.join("mesh.toml"), &root.join("mesh.d"));
        let directories: Vec<_> = places.directories.into_keys().collect();
        assert_eq!(directories, [root.clone(), root.join("mesh.d")]);
        assert!(places.files.is_empty());
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink("mesh.toml", root.join("mesh.toml")).unwrap();
        let places = Places::of(&root.join("mesh.toml"), &root.join("mesh.d"));
        assert_eq!(names(&places, &root), ["mesh.d", "mesh.toml"]);
    }
}
