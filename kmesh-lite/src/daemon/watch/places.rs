//! Where to look so that no change of a path goes unseen.

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
    pub directories: BTreeMap<PathBuf, Interest>,
    /// Regular files at the end of a chain: a file that is mounted by itself changes without its
    /// directory here noticing.
    pub files: BTreeSet<PathBuf>,
}

/// What matters in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub names: BTreeSet<OsString>,
    /// Any `.toml` in it matters.
    pub drop_ins: bool,
    /// The content of what is in it matters too, not only whether it is there.
    pub content: bool,
}

impl Interest {
    pub fn covers(&self, name: &OsStr) -> bool {
        self.names.contains(name) || (self.drop_ins && is_drop_in(name))
    }
}

impl Places {
    /// Places to look at for a file and for a folder of drop-ins, as things are now.
    pub fn of(file: &Path, drop_ins: &Path) -> Self {
        let mut places = Self::default();
        places.walk(file);
        let Some(folder) = places.walk(drop_ins) else {
            return places;
        };
        let interest = places.directories.entry(folder.clone()).or_default();
        interest.drop_ins = true;
        interest.content = true;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            // Regular files are covered by their folder, however many there are.
            if link && is_drop_in(&entry.file_name()) {
                places.walk(&entry.path());
            }
        }
        places
    }

    /// Follows a path as the kernel would. Each directory in which a name is looked up is a place,
    /// each name looked up an interest: a link that is swapped, a directory that is renamed away
    /// and a part that does not exist yet are all one case. Gives the directory that the path leads to,
    /// if it is one.
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
            let interest = self.directories.entry(here.clone()).or_default();
            interest.names.insert(name);
            interest.content |= left.is_empty();
            let kind = fs::symlink_metadata(&next).ok()?.file_type();
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
                self.files.insert(next);
                return None;
            }
        }
        self.directories.entry(here.clone()).or_default();
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
    fn a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink("mesh.toml", root.join("mesh.toml")).unwrap();
        let places = Places::of(&root.join("mesh.toml"), &root.join("mesh.d"));
        assert_eq!(names(&places, &root), ["mesh.d", "mesh.toml"]);
    }
}
