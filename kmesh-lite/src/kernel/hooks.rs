//! Which cgroups the programs are attached to.

use super::bpf;
use super::object::{HOOKS, Hook, LoadError, Need, Object};
use super::{CgroupError, Cgroups};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// How long the hooks for headers outlive the last need for one: longer than a connect() that began
/// before takes to fail.
const LINGER: Duration = Duration::from_secs(180);

/// Links by cgroup. Closing them detaches.
#[derive(Default)]
pub struct Hooks {
    attached: BTreeMap<PathBuf, Attachment>,
    lingering: Vec<Lingering>,
}

/// A link of a hook for headers that is not needed any more.
struct Lingering {
    since: Instant,
    path: PathBuf,
    inode: u64,
    link: Link,
}

type Link = (&'static Hook, OwnedFd);

/// A cgroup that no other daemon can attach to while this is held.
pub struct Claim {
    path: PathBuf,
    folder: File,
}

struct Attachment {
    path: PathBuf,
    /// Open for its lock, which keeps other daemons away.
    folder: File,
    inode: u64,
    links: Vec<Link>,
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
    pub fn attach(
        &mut self,
        claims: Vec<Claim>,
        headers: bool,
        object: &Object,
    ) -> Result<(), HookError> {
        for claim in claims {
            let mut attachment = Attachment::new(claim);
            attachment.link(headers, &mut self.lingering, object)?;
            log::info!("attached to cgroup {}", attachment.path.display());
            self.attached.insert(attachment.path.clone(), attachment);
        }
        Ok(())
    }

    /// Attaches the hooks for headers where they are missing. Before tables in which a waypoint has
    /// a header: a connection must not outrun it.
    pub fn prepare_headers(&mut self, object: &Object) -> Result<(), HookError> {
        for attachment in self.attached.values_mut() {
            attachment.link(true, &mut self.lingering, object)?;
        }
        Ok(())
    }

    /// Lets go of the hooks for headers, unless they are needed or connections may still need them.
    pub fn retain_headers(&mut self, needed: bool, object: &Object) {
        if !needed {
            for attachment in self.attached.values_mut() {
                attachment.release_headers(&mut self.lingering);
            }
        }
        let over = |lingering: &Lingering| lingering.since.elapsed() > LINGER;
        if self.lingering.iter().any(over) && object.has_no_pending_header() {
            self.lingering.retain(|lingering| !over(lingering));
        }
    }

    /// Detaches from all cgroups but `wanted`.
    pub fn retain(&mut self, wanted: &BTreeSet<PathBuf>) {
        let gone = self
            .attached
            .extract_if(.., |path, _| !wanted.contains(path));
        for (path, mut attachment) in gone {
            attachment.release_headers(&mut self.lingering);
            log::info!("detached from cgroup {}", path.display());
        }
    }

    /// Makes every link run the programs of `object`. If one cannot, those before it do already.
    pub fn switch(&self, object: &Object) -> Result<(), HookError> {
        for (cgroup, attachment) in &self.attached {
            for link in &attachment.links {
                switch(link, object, cgroup)?;
            }
        }
        // Those of cgroups that are gone, or of no use any more, go on with what they have: what
        // sockets remember is shared.
        Ok(())
    }

    /// Cgroups that are attached to.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        self.attached.keys().cloned().collect()
    }
}

impl Attachment {
    fn new(claim: Claim) -> Self {
        Self {
            inode: claim.folder.metadata().map_or(0, |folder| folder.ino()),
            path: claim.path,
            folder: claim.folder,
            links: Vec::new(),
        }
    }

    /// Attaches the hooks that are missing.
    fn link(
        &mut self,
        headers: bool,
        lingering: &mut Vec<Lingering>,
        object: &Object,
    ) -> Result<(), HookError> {
        for hook in &HOOKS {
            let there = self.links.iter().any(|(there, _)| there.name == hook.name);
            if there || (hook.need == Need::Headers && !headers) {
                continue;
            }
            let same = |link: &Lingering| {
                (link.inode, &link.path) == (self.inode, &self.path)
                    && link.link.0.name == hook.name
            };
            if let Some(index) = lingering.iter().position(same) {
                let link = lingering.swap_remove(index).link;
                switch(&link, object, &self.path)?;
                self.links.push(link);
                continue;
            }
            let program = object.program(hook.name)?;
            let link = bpf::link_create(program, self.folder.as_fd(), hook.attach_type);
            let link = link.map_err(|source| HookError::Attach {
                name: hook.name,
                cgroup: self.path.clone(),
                source,
            })?;
            self.links.push((hook, link));
        }
        Ok(())
    }

    /// Leaves the hooks for headers to connections that may still need them.
    fn release_headers(&mut self, lingering: &mut Vec<Lingering>) {
        let for_headers = |link: &mut Link| link.0.need == Need::Headers;
        let links = self.links.extract_if(.., for_headers);
        lingering.extend(links.map(|link| Lingering {
            since: Instant::now(),
            path: self.path.clone(),
            inode: self.inode,
            link,
        }));
    }
}

fn switch((hook, link): &Link, object: &Object, cgroup: &Path) -> Result<(), HookError> {
    let program = object.program(hook.name)?;
    bpf::link_update(link.as_fd(), program).map_err(|source| HookError::Switch {
        name: hook.name,
        cgroup: cgroup.to_owned(),
        source,
    })
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
