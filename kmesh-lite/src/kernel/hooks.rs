//! Which cgroups the programs are attached to.

use super::bpf;
use super::object::{HOOKS, Hook, LoadError, Object};
use super::{CgroupError, Cgroups};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why a hook does not follow.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Program(#[from] LoadError),
    #[error(
        "cannot attach program `{name}` to cgroup {cgroup}{}",
        if .source.raw_os_error() == Some(libc::EPERM) {
            ": another program holds this hook, or one of a cgroup above, exclusively (`bpftool cgroup tree` shows it)"
        } else { "" }
    )]
    Attach {
        name: &'static str,
        cgroup: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot switch program `{name}` of cgroup {cgroup} to new tables")]
    Switch {
        name: &'static str,
        cgroup: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Links by cgroup. Closing them detaches.
#[derive(Default)]
pub struct Hooks {
    attached: BTreeMap<PathBuf, Attachment>,
}

struct Attachment {
    /// In the order of [`HOOKS`].
    links: Vec<OwnedFd>,
    /// Open for its lock, which keeps other daemons away.
    _claim: File,
    inode: u64,
}

impl Hooks {
    /// Attaches to the outermost of `wanted`: new cgroups first, then the others are left. Programs
    /// of a cgroup run for those below it as well, and where they ran twice, the second run would
    /// take what the first one chose for what the application asked for.
    pub fn attach(
        &mut self,
        cgroups: &Cgroups,
        wanted: &[PathBuf],
        object: &Object,
    ) -> Result<(), HookError> {
        let wanted: BTreeSet<PathBuf> = wanted.iter().map(|path| cgroups.path(path)).collect();
        let wanted = outermost(&wanted);
        for path in &wanted {
            // A cgroup that was removed and made again has the same path and none of our links.
            let there = self.attached.get(*path);
            if there.is_none_or(|there| inode(&cgroups.folder(path)) != Some(there.inode)) {
                let attachment = Attachment::new(cgroups, path, object)?;
                self.attached.insert(path.to_path_buf(), attachment);
                log::info!("attached to cgroup {}", path.display());
            }
        }
        self.attached.retain(|path, _| {
            let keep = wanted.contains(path.as_path());
            if !keep {
                log::info!("detached from cgroup {}", path.display());
            }
            keep
        });
        Ok(())
    }

    /// Makes every link run the programs of `object`. If one cannot, those before it run the new
    /// programs and the others the old ones: the caller keeps both alive and tries again.
    pub fn switch(&self, object: &Object) -> Result<(), HookError> {
        for (cgroup, attachment) in &self.attached {
            for (Hook { name, .. }, link, program) in attachment.pairs(object) {
                bpf::link_update(link.as_fd(), program?).map_err(|source| HookError::Switch {
                    name,
                    cgroup: cgroup.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Cgroups that are attached to.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        self.attached.keys().cloned().collect()
    }
}

impl Attachment {
    fn new(cgroups: &Cgroups, path: &Path, object: &Object) -> Result<Self, HookError> {
        let claim = cgroups.claim(path)?;
        let mut links = Vec::new();
        for hook in &HOOKS {
            let link = bpf::link_create(object.program(hook)?, claim.as_fd(), hook.attach_type);
            links.push(link.map_err(|source| HookError::Attach {
                name: hook.name,
                cgroup: path.to_owned(),
                source,
            })?);
        }
        let inode = inode(&cgroups.folder(path)).unwrap_or_default();
        Ok(Self {
            links,
            _claim: claim,
            inode,
        })
    }

    fn pairs<'a>(
        &'a self,
        object: &'a Object,
    ) -> impl Iterator<
        Item = (
            &'static Hook,
            &'a OwnedFd,
            Result<std::os::fd::BorrowedFd<'a>, LoadError>,
        ),
    > {
        HOOKS
            .iter()
            .zip(&self.links)
            .map(|(hook, link)| (hook, link, object.program(hook)))
    }
}

fn outermost(cgroups: &BTreeSet<PathBuf>) -> BTreeSet<&Path> {
    let inside = |path: &Path| {
        path.ancestors()
            .skip(1)
            .any(|above| cgroups.contains(above))
    };
    let paths = cgroups.iter().map(PathBuf::as_path);
    paths.filter(|path| !inside(path)).collect()
}

fn inode(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(std::fs::metadata(folder).ok()?.ino())
}
