//! Links to programs: read back, made, switched and let go of as a plan says.

use super::bpf::{self, LinkAbout};
use super::connections::Living;
use super::fault;
use super::inherited::InheritedLink;
use super::object::{LoadError, Object};
use super::store::{self, Name, Store};
use crate::hooks::{Anchor, Attached, HOOKS, Hook, HookOp, Link, LinkState, Need, Role};
use crate::host::{CgroupError, Cgroups, monotonic};
use crate::model::{Cgroup, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    #[error("cannot read the connection table")]
    Connections(#[source] io::Error),
    #[error("cannot look at the links of {target}")]
    Read {
        target: PathBuf,
        #[source]
        source: io::Error,
    },
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
    #[error("cannot attach program `{name}` to network namespace {namespace}")]
    AttachToNamespace {
        name: &'static str,
        namespace: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot switch program `{name}` of {target} to new tables")]
    Switch {
        name: &'static str,
        target: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// All links of this process, and the cgroups that it keeps other daemons away from. Each link is in
/// the store as well; where that keeps nothing, closing them detaches.
pub struct Links {
    links: BTreeMap<u32, HeldLink>,
    /// Open for their locks, by id.
    claims: BTreeMap<u64, File>,
    /// Network namespaces in which what arrives is not judged although it should be.
    unjudged: BTreeSet<u64>,
    store: Arc<dyn Store>,
}

struct HeldLink {
    hook: &'static Hook,
    name: Name,
    fd: OwnedFd,
    path: PathBuf,
    target: u64,
    role: HeldRole,
    foreign: bool,
}

/// [`Role`] with points in time.
#[derive(Clone, Copy)]
enum HeldRole {
    Held,
    Inherited,
    Lingering(Instant),
    Kept,
}

impl Links {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            links: BTreeMap::new(),
            claims: BTreeMap::new(),
            unjudged: BTreeSet::new(),
            store,
        }
    }

    /// Takes over the links of an earlier process. They go on with its programs until they are
    /// switched. Unless ours understand the sockets it left (`familiar`), links that are about
    /// sockets are never switched, and ours are attached beside them.
    pub fn inherit(&mut self, links: Vec<InheritedLink>, familiar: bool, cgroups: &Cgroups) {
        let of_cgroups = links
            .iter()
            .filter(|link| link.hook.anchor == Anchor::Cgroup);
        let paths = cgroups.paths(of_cgroups.map(|link| link.target));
        for inherited in links {
            let InheritedLink {
                id,
                name,
                hook,
                target,
                fd,
            } = inherited;
            let foreign = matches!(name, Name::Kept(_)) || (hook.remembers && !familiar);
            let path = match hook.anchor {
                // No name of it is known, and it is known by its number.
                Anchor::Namespace => {
                    (target != 0).then(|| PathBuf::from(format!("net:[{target}]")))
                }
                _ => paths.get(&target).cloned(),
            };
            let mut link = HeldLink {
                hook,
                name,
                fd,
                path: path.clone().unwrap_or_default(),
                target,
                role: match hook.need {
                    _ if !foreign => HeldRole::Inherited,
                    Need::Always | Need::Datagrams | Need::Arrivals => HeldRole::Kept,
                    // Connections that the process before left may still need it.
                    Need::Lives => HeldRole::Lingering(Instant::now()),
                },
                foreign,
            };
            if path.is_none() {
                // Its cgroup was removed, or is out of our sight.
                link.let_go(&*self.store);
                continue;
            }
            if foreign {
                link.keep_as_it_is(&*self.store);
                log::info!(
                    "`{}` of cgroup {} stays for sockets of an earlier version",
                    hook.name,
                    link.path.display()
                );
            }
            self.links.insert(id, link);
        }
    }

    /// Whether connects are handled by what an earlier process left.
    pub fn has_inherited(&self) -> bool {
        let mut links = self.links.values();
        links.any(|link| matches!(link.role, HeldRole::Inherited))
    }

    /// Reads all links back.
    pub fn read(&self, object: &Object) -> Result<Attached, HookError> {
        let mut links = Vec::with_capacity(self.links.len());
        for (id, link) in &self.links {
            let there = bpf::attached(link.fd.as_fd()).map_err(|source| HookError::Read {
                target: link.path.clone(),
                source,
            })?;
            let current = object.program_id(link.hook.name)?;
            links.push(Link {
                id: *id,
                hook: link.hook,
                path: link.path.clone(),
                target: link.target,
                state: match there.target {
                    0 => LinkState::Detached,
                    _ if Some(there.program) == current => LinkState::Current,
                    _ => LinkState::Other,
                },
                role: match link.role {
                    HeldRole::Held => Role::Held,
                    HeldRole::Inherited => Role::Inherited,
                    HeldRole::Lingering(since) => Role::Lingering(since.elapsed()),
                    HeldRole::Kept => Role::Kept,
                },
                foreign: link.foreign,
            });
        }
        let lingers = |link: &Link| matches!(link.role, Role::Lingering(_));
        let oldest_connection = if links.iter().any(lingers) {
            oldest(&object.maps.living().map_err(HookError::Connections)?)
        } else {
            None
        };
        Ok(Attached {
            oldest_connection,
            links,
            claimed: self.claims.keys().copied().collect(),
            pushes_headers: object.pushes_headers(),
            pending_headers: !object.has_no_pending_header(),
        })
    }

    /// Opens and locks cgroups: no other daemon attaches to them meanwhile. Gives the ids of those that
    /// have gone since they were looked at.
    pub fn claim(
        &mut self,
        cgroups: &Cgroups,
        wanted: &[Cgroup],
    ) -> Result<BTreeSet<u64>, HookError> {
        let mut gone = BTreeSet::new();
        for cgroup in wanted {
            match cgroups.claim(cgroup)? {
                Some(folder) => {
                    self.claims.insert(cgroup.id, folder);
                }
                None => {
                    gone.insert(cgroup.id);
                }
            }
        }
        Ok(gone)
    }

    /// Lets go of the cgroups that are not attached to: another daemon may have them.
    fn release_claims(&mut self) {
        let used: BTreeSet<_> = self.of_cgroups().map(|link| link.target).collect();
        self.claims.retain(|cgroup, _| used.contains(cgroup));
    }

    /// Links of cgroups that are attached to.
    fn of_cgroups(&self) -> impl Iterator<Item = &HeldLink> {
        self.in_use()
            .filter(|link| link.hook.anchor == Anchor::Cgroup)
    }

    /// Links that are there for the mesh.
    fn in_use(&self) -> impl Iterator<Item = &HeldLink> {
        let in_use = |link: &&HeldLink| matches!(link.role, HeldRole::Held | HeldRole::Inherited);
        self.links.values().filter(in_use)
    }

    /// Carries out the part of a plan that makes links: all of them, or none.
    pub fn make(&mut self, ops: &[HookOp], object: &mut Object) -> Result<(), HookError> {
        object.provide(ops.iter().filter_map(HookOp::needs))?;
        let mut made = Vec::new();
        for op in ops {
            let done = match op {
                HookOp::Attach(hook, cgroup) => self
                    .attach(hook, cgroup, object)
                    .map(|link| made.push(link)),
                HookOp::AttachToSockets(_) => Ok(object.push_headers()?),
                HookOp::AttachToNamespace(hook, namespace, may_fail) => {
                    match self.attach_to_namespace(hook, namespace, object) {
                        Ok(link) => {
                            self.unjudged.remove(&namespace.id);
                            made.push(link);
                            Ok(())
                        }
                        Err(error) if *may_fail => {
                            self.leave_unjudged(namespace, &error);
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
                HookOp::Switch(link) => self.switch(link.id, object),
                HookOp::Hold(link) => {
                    self.hold(link.id);
                    Ok(())
                }
                HookOp::Leave(_) | HookOp::Detach(_) => Ok(()),
            };
            if let Err(error) = done {
                for link in made {
                    self.detach(link);
                }
                self.release_claims();
                return Err(error);
            }
        }
        for cgroup in self.attached_by(ops) {
            log::info!("attached to cgroup {}", cgroup.display());
        }
        Ok(())
    }

    /// Carries out the part of a plan that lets go of links.
    pub fn drop(&mut self, ops: &[HookOp]) {
        let before = self.cgroups();
        for op in ops {
            match op {
                HookOp::Leave(link) => {
                    if let Some(link) = self.links.get_mut(&link.id) {
                        link.role = HeldRole::Lingering(Instant::now());
                    }
                }
                HookOp::Detach(link) => self.detach(link.id),
                HookOp::Attach(..)
                | HookOp::AttachToNamespace(..)
                | HookOp::AttachToSockets(_)
                | HookOp::Switch(_)
                | HookOp::Hold(_) => {}
            }
        }
        self.release_claims();
        for cgroup in before.difference(&self.cgroups()) {
            log::info!("detached from cgroup {}", cgroup.display());
        }
    }

    /// Makes every link run the programs of `object`. If one cannot, those before it do already.
    pub fn switch_all(&self, object: &mut Object) -> Result<(), HookError> {
        object.provide(self.in_use().map(|link| link.hook))?;
        let object = &*object;
        // Links of removed cgroups, and links that are no longer needed, keep their programs: both sets
        // of programs share what sockets remember.
        self.in_use().try_for_each(|link| link.switch(object))
    }

    /// Cgroups that are attached to.
    pub fn cgroups(&self) -> BTreeSet<PathBuf> {
        self.of_cgroups().map(|link| link.path.clone()).collect()
    }

    /// Cgroups to which every hook that is always needed was attached just now.
    fn attached_by<'a>(&self, ops: &'a [HookOp]) -> Vec<&'a Path> {
        let last = HOOKS.iter().rfind(|hook| hook.anchor == Anchor::Cgroup);
        let attached = ops.iter().filter_map(|op| match op {
            HookOp::Attach(hook, cgroup) if Some(*hook) == last => Some(cgroup.path.as_path()),
            HookOp::Switch(link) | HookOp::Hold(link)
                if Some(link.hook) == last && link.role != Role::Held =>
            {
                Some(link.path.as_path())
            }
            _ => None,
        });
        attached.collect()
    }

    fn attach(
        &mut self,
        hook: &'static Hook,
        cgroup: &Cgroup,
        object: &Object,
    ) -> Result<u32, HookError> {
        let attach = |source| HookError::Attach {
            name: hook.name,
            cgroup: cgroup.path.clone(),
            source,
        };
        let absent = || attach(io::ErrorKind::NotFound.into());
        let folder = self.claims.get(&cgroup.id).ok_or_else(absent)?;
        let program = object.program(hook.name)?;
        let fd = bpf::link_create(program, folder.as_fd(), hook.attach_type).map_err(attach)?;
        self.keep(hook, fd, &cgroup.path).map_err(attach)
    }

    fn attach_to_namespace(
        &mut self,
        hook: &'static Hook,
        namespace: &Namespace,
        object: &mut Object,
    ) -> Result<u32, HookError> {
        let attach = |source| HookError::AttachToNamespace {
            name: hook.name,
            namespace: namespace.path.clone(),
            source,
        };
        object.provide([hook])?;
        let program = object.program(hook.name)?;
        let there = File::open(&namespace.path).map_err(attach)?;
        let fd = bpf::link_create(program, there.as_fd(), hook.attach_type).map_err(attach)?;
        self.keep(hook, fd, &namespace.path).map_err(attach)
    }

    /// Says once that nothing is judged in a network namespace.
    fn leave_unjudged(&mut self, namespace: &Namespace, error: &HookError) {
        if self.unjudged.insert(namespace.id) {
            log::warn!(
                "policies do not hold for what arrives in network namespace {}: {}",
                namespace.path.display(),
                crate::log::chain(error)
            );
        }
    }

    /// Holds a link that was just made, for this process and the next one. Gives its number.
    fn keep(&mut self, hook: &'static Hook, fd: OwnedFd, path: &Path) -> io::Result<u32> {
        fault::point();
        let LinkAbout { id, target, .. } = bpf::attached(fd.as_fd())?;
        let name = Name::Link(id);
        store::keep(&*self.store, &name, fd.as_fd());
        let link = HeldLink {
            hook,
            name,
            fd,
            path: path.to_owned(),
            target,
            role: HeldRole::Held,
            foreign: false,
        };
        self.links.insert(id, link);
        Ok(id)
    }

    fn switch(&mut self, link: u32, object: &Object) -> Result<(), HookError> {
        if let Some(held) = self.links.get(&link) {
            held.switch(object)?;
        }
        self.hold(link);
        Ok(())
    }

    fn hold(&mut self, link: u32) {
        if let Some(link) = self.links.get_mut(&link) {
            link.role = HeldRole::Held;
        }
    }

    fn detach(&mut self, link: u32) {
        if let Some(link) = self.links.remove(&link) {
            link.let_go(&*self.store);
        }
    }
}

/// The age of the oldest connection.
fn oldest(living: &[Living]) -> Option<Duration> {
    let since = living.iter().map(|it| it.connection.since).min()?;
    Some(Duration::from_nanos(monotonic().saturating_sub(since)))
}

impl HeldLink {
    fn switch(&self, object: &Object) -> Result<(), HookError> {
        let program = object.program(self.hook.name)?;
        bpf::link_update(self.fd.as_fd(), program).map_err(|source| HookError::Switch {
            name: self.hook.name,
            target: self.path.clone(),
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
