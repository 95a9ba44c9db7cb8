//! Which cgroups the programs are attached to.

use super::bpf;
use super::object::{HOOKS, Hook, LoadError, Object};
use super::{CgroupError, Cgroups};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
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

/// A cgroup that no other daemon can attach to while this is held.
pub struct Claim {
    path: PathBuf,
    folder: File,
}

struct Attachment {
    /// In the order of [`HOOKS`].
    links: Vec<OwnedFd>,
    /// Open for its lock, which keeps other daemons away.
    _claim: File,
    inode: u64,
}

impl Hooks {
    /// Opens and locks the cgroups of `wanted` that are not attached to yet; changes nothing.
    pub fn claim(
        &self,
        cgroups: &Cgroups,
        wanted: &BTreeSet<PathBuf>,
    ) -> Result<Vec<Claim>, HookError> {
        let mut claims = Vec::new();
        for path in wanted {
            // A cgroup that was removed and made again has the same path and none of our links.
            let there = self.attached.get(path);
            if there.is_none_or(|there| inode(&cgroups.folder(path)) != Some(there.inode)) {
                let folder = cgroups.claim(path)?;
                claims.push(Claim {
                    path: path.clone(),
                    folder,
                });
            }
        }
        Ok(claims)
    }

    /// Attaches to the cgroups that were claimed.
    pub fn attach(&mut self, claims: Vec<Claim>, object: &Object) -> Result<(), HookError> {
        for claim in claims {
            let path = claim.path.clone();
            log::info!("attached to cgroup {}", path.display());
            self.attached.insert(path, Attachment::new(claim, object)?);
        }
        Ok(())
    }

    /// Detaches from all cgroups but `wanted`.
    pub fn retain(&mut self, wanted: &BTreeSet<PathBuf>) {
        self.attached.retain(|path, _| {
            let keep = wanted.contains(path);
            if !keep {
                log::info!("detached from cgroup {}", path.display());
            }
            keep
        });
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
    fn new(claim: Claim, object: &Object) -> Result<Self, HookError> {
        let mut links = Vec::new();
        for hook in &HOOKS {
            let link = bpf::link_create(
                object.program(hook)?,
                claim.folder.as_fd(),
                hook.attach_type,
            );
            links.push(link.map_err(|source| HookError::Attach {
                name: hook.name,
                cgroup: claim.path.clone(),
                source,
            })?);
        }
        Ok(Self {
            links,
            inode: claim.folder.metadata().map_or(0, |folder| folder.ino()),
            _claim: claim.folder,
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

/// The outermost of `paths`. Programs of a cgroup run for those below it as well, and where they ran
/// twice, the second run would take what the first one chose for what the application asked for.
pub fn outermost(cgroups: &Cgroups, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let all: BTreeSet<PathBuf> = paths.iter().map(|path| cgroups.path(path)).collect();
    let inside = |path: &&PathBuf| path.ancestors().skip(1).any(|above| all.contains(above));
    all.iter().filter(|path| !inside(path)).cloned().collect()
}

fn inode(folder: &Path) -> Option<u64> {
    Some(std::fs::metadata(folder).ok()?.ino())
}
