//! Which cgroups the programs are attached to.

use super::bpf;
use super::fault;
use super::inherited::InheritedLink;
use super::object::{HOOKS, Hook, LoadError, Need, Object};
use super::store::{self, Name, Store};
use crate::host::{CgroupError, Cgroups};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// Links by cgroup. Each is in the store as well; where that keeps nothing, closing them detaches.
pub struct Hooks {
    attached: BTreeMap<PathBuf, Attachment>,
    /// Those of an earlier process that no cgroup of the mesh has claimed yet.
    inherited: Vec<Loose>,
    lingering: Vec<Loose>,
    /// Links that answer for sockets which only their programs understand, however long those live.
    kept: Vec<Loose>,
    store: Arc<dyn Store>,
}

/// A link of no cgroup of the mesh: not yet, or not any more.
struct Loose {
    since: Instant,
    path: PathBuf,
    inode: u64,
    /// Whether its program is about sockets that ours do not understand.
    foreign: bool,
    link: Link,
}

struct Link {
    hook: &'static Hook,
    name: Name,
    fd: OwnedFd,
}

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
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            attached: BTreeMap::new(),
            inherited: Vec::new(),
            lingering: Vec::new(),
            kept: Vec::new(),
            store,
        }
    }

    /// Takes over the links of an earlier process. They go on with its programs until they are
    /// switched. Unless ours understand the sockets it left (`familiar`), those that are about
    /// sockets are never switched, and ours are attached beside them.
    pub fn inherit(&mut self, links: Vec<InheritedLink>, familiar: bool, cgroups: &Cgroups) {
        let paths = cgroups.paths(links.iter().map(|link| link.cgroup));
        for link in links {
            let InheritedLink {
                name,
                hook,
                cgroup,
                fd,
            } = link;
            let foreign = matches!(name, Name::Kept(_)) || (hook.remembers && !familiar);
            let mut link = Link { hook, name, fd };
            let Some(path) = paths.get(&cgroup) else {
                // Its cgroup was removed, or is out of our sight.
                link.let_go(&*self.store);
                continue;
            };
            if foreign {
                link.keep_as_it_is(&*self.store);
            }
            self.leave(Loose {
                since: Instant::now(),
                path: path.clone(),
                inode: cgroup,
                foreign,
                link,
            });
        }
        for kept in &self.kept {
            log::info!(
                "`{}` of cgroup {} stays for sockets of an earlier version",
                kept.link.hook.name,
                kept.path.display()
            );
        }
    }

    /// Puts a link to those of its kind.
    fn leave(&mut self, loose: Loose) {
        let place = match loose.link.hook.need {
            Need::Headers => &mut self.lingering,
            Need::Always if loose.foreign => &mut self.kept,
            Need::Always => &mut self.inherited,
        };
        place.push(loose);
    }

    /// Whether connects are handled by what an earlier process left.
    pub fn has_inherited(&self) -> bool {
        !self.inherited.is_empty()
    }

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
            self.link(&mut attachment, headers, object)?;
            log::info!("attached to cgroup {}", attachment.path.display());
            let path = attachment.path.clone();
            if let Some(gone) = self.attached.insert(path, attachment) {
                gone.let_go(&*self.store);
            }
        }
        Ok(())
    }

    /// Attaches the hooks for headers where they are missing. Before tables in which a waypoint has
    /// a header: a connection must not outrun it.
    pub fn prepare_headers(&mut self, object: &Object) -> Result<(), HookError> {
        let mut attached = std::mem::take(&mut self.attached);
        let linked = attached
            .values_mut()
            .try_for_each(|attachment| self.link(attachment, true, object));
        self.attached = attached;
        linked
    }

    /// Attaches the hooks that an attachment lacks: all of them, or none.
    fn link(
        &mut self,
        attachment: &mut Attachment,
        headers: bool,
        object: &Object,
    ) -> Result<(), HookError> {
        let (mut taken, mut made) = (Vec::new(), Vec::new());
        for hook in &HOOKS {
            if attachment.has(hook) || (hook.need == Need::Headers && !headers) {
                continue;
            }
            let linked = match self.take_loose(hook, attachment) {
                Some(loose) => {
                    taken.push(loose);
                    taken
                        .last()
                        .map_or(Ok(()), |loose| loose.link.switch(object, &attachment.path))
                }
                None => {
                    Link::create(hook, attachment, object, &*self.store).map(|link| made.push(link))
                }
            };
            if let Err(error) = linked {
                // Those of an earlier process must not be lost.
                taken.into_iter().for_each(|loose| self.leave(loose));
                made.into_iter().for_each(|link| link.let_go(&*self.store));
                return Err(error);
            }
        }
        attachment
            .links
            .extend(taken.into_iter().map(|loose| loose.link));
        attachment.links.extend(made);
        Ok(())
    }

    fn take_loose(&mut self, hook: &Hook, attachment: &Attachment) -> Option<Loose> {
        let same = |loose: &Loose| {
            !loose.foreign
                && (loose.inode, &loose.path) == (attachment.inode, &attachment.path)
                && loose.link.hook.name == hook.name
        };
        for loose in [&mut self.inherited, &mut self.lingering] {
            if let Some(index) = loose.iter().position(same) {
                return Some(loose.swap_remove(index));
            }
        }
        None
    }

    /// Lets go of the hooks for headers, unless they are needed or connections may still need them.
    pub fn retain_headers(&mut self, needed: bool, object: &Object) {
        if !needed {
            for attachment in self.attached.values_mut() {
                attachment.release_headers(&mut self.lingering);
            }
        }
        let over = |loose: &Loose| loose.since.elapsed() > LINGER;
        if self.lingering.iter().any(over) && object.has_no_pending_header() {
            for loose in self.lingering.extract_if(.., |loose| over(loose)) {
                loose.link.let_go(&*self.store);
            }
        }
    }

    /// Detaches from all cgroups but `wanted`.
    pub fn retain(&mut self, wanted: &BTreeSet<PathBuf>) {
        let gone = self
            .attached
            .extract_if(.., |path, _| !wanted.contains(path));
        for (path, mut attachment) in gone {
            attachment.release_headers(&mut self.lingering);
            attachment.let_go(&*self.store);
            log::info!("detached from cgroup {}", path.display());
        }
        for loose in std::mem::take(&mut self.inherited) {
            log::info!(
                "detached `{}` from cgroup {}",
                loose.link.hook.name,
                loose.path.display()
            );
            loose.link.let_go(&*self.store);
        }
    }

    /// Makes every link run the programs of `object`. If one cannot, those before it do already.
    pub fn switch(&self, object: &Object) -> Result<(), HookError> {
        for (cgroup, attachment) in &self.attached {
            for link in &attachment.links {
                link.switch(object, cgroup)?;
            }
        }
        for loose in self.inherited.iter().filter(|loose| !loose.foreign) {
            loose.link.switch(object, &loose.path)?;
        }
        // Those of cgroups that are gone, or of no use any more, go on with what they have: what
        // sockets remember is shared.
        Ok(())
    }

    /// Cgroups that are attached to.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let inherited = self.inherited.iter().map(|loose| &loose.path);
        let all: BTreeSet<_> = self.attached.keys().chain(inherited).cloned().collect();
        all.into_iter().collect()
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

    fn has(&self, hook: &Hook) -> bool {
        self.links.iter().any(|link| link.hook.name == hook.name)
    }

    /// Leaves the hooks for headers to connections that may still need them.
    fn release_headers(&mut self, lingering: &mut Vec<Loose>) {
        let for_headers = |link: &mut Link| link.hook.need == Need::Headers;
        let links = self.links.extract_if(.., for_headers);
        lingering.extend(links.map(|link| Loose {
            since: Instant::now(),
            path: self.path.clone(),
            inode: self.inode,
            foreign: false,
            link,
        }));
    }

    fn let_go(self, store: &dyn Store) {
        for link in self.links {
            link.let_go(store);
        }
    }
}

impl Link {
    fn create(
        hook: &'static Hook,
        attachment: &Attachment,
        object: &Object,
        store: &dyn Store,
    ) -> Result<Self, HookError> {
        let program = object.program(hook.name)?;
        let attach = |source| HookError::Attach {
            name: hook.name,
            cgroup: attachment.path.clone(),
            source,
        };
        let cgroup = attachment.folder.as_fd();
        let fd = bpf::link_create(program, cgroup, hook.attach_type).map_err(attach)?;
        fault::point();
        let id = bpf::attached(fd.as_fd()).map_err(attach)?.id;
        let name = Name::Link(id);
        store::keep(store, &name, fd.as_fd());
        Ok(Self { hook, name, fd })
    }

    fn switch(&self, object: &Object, cgroup: &Path) -> Result<(), HookError> {
        let program = object.program(self.hook.name)?;
        bpf::link_update(self.fd.as_fd(), program).map_err(|source| HookError::Switch {
            name: self.hook.name,
            cgroup: cgroup.to_owned(),
            source,
        })?;
        fault::point();
        Ok(())
    }

    /// Marks the link as one that is not to be switched, for the process after us.
    fn keep_as_it_is(&mut self, store: &dyn Store) {
        let Name::Link(id) = self.name else { return };
        // The store has a descriptor once, under the name that it had first.
        store::release(store, &self.name);
        self.name = Name::Kept(id);
        store::keep(store, &self.name, self.fd.as_fd());
    }

    /// Detaches for good: the store may hold it too.
    fn let_go(self, store: &dyn Store) {
        // A link whose cgroup is gone is detached already, which the kernel may call an error.
        if let Err(error) = bpf::link_detach(self.fd.as_fd()) {
            log::debug!("cannot detach `{}`: {error}", self.hook.name);
        }
        store::release(store, &self.name);
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
