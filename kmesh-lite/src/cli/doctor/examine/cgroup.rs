//! The cgroups that are, or would be, attached to; who is at their hooks; what is left there.

use super::errno;
use crate::cli::args;
use crate::cli::run::rooted;
use crate::doctor::cgroup::{Captured, Mount};
use crate::doctor::hooks::{Hook, Level, Owner, Program, Sharing, Unseen};
use crate::doctor::links::{Attached, Held};
use crate::doctor::socket::Answer;
use crate::hooks::outermost;
use crate::host::{self, CgroupError, Cgroups};
use crate::kernel::{self, ObserveError, Observer};
use crate::log::chain;
use crate::model::{Capture, Mesh};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

pub fn mount(cgroups: &Result<Cgroups, CgroupError>) -> Mount<'_> {
    match cgroups {
        Ok(cgroups) => Mount::At(cgroups.mount()),
        Err(CgroupError::NotMounted) => Mount::Nowhere,
        Err(error) => Mount::Unseen(chain(error)),
    }
}

/// Cgroups that were asked for; or those that the daemon has; or those of the file.
pub fn wanted(args: &args::Doctor, answer: &Answer, mesh: Option<&Mesh>) -> Vec<PathBuf> {
    if !args.cgroups.is_empty() {
        return args.cgroups.iter().map(|path| rooted(path)).collect();
    }
    match (answer.daemon(), mesh) {
        (Some(daemon), _) if !daemon.attached.is_empty() => daemon.attached.clone(),
        (_, Some(mesh)) => mesh.capture.cgroups.clone(),
        (_, None) => Capture::default().cgroups,
    }
}

pub fn captured(cgroups: &Cgroups, wanted: &[PathBuf]) -> Vec<Captured> {
    let captured = outermost(wanted.iter().map(|path| cgroups.path(path)).collect())
        .into_iter()
        .map(|path| {
            let at = cgroups.folder(&path);
            let folder = File::open(&at);
            Captured {
                there: at.is_dir(),
                holder: folder.ok().and_then(|folder| host::lock_holder(&folder)),
                path,
                at,
            }
        });
    captured.collect()
}

pub fn at_hooks(
    cgroups: &Cgroups,
    captured: &[Captured],
    instance: u64,
) -> Result<Vec<Hook>, Unseen> {
    let mut seen = Vec::new();
    for cgroup in captured.iter().filter(|cgroup| cgroup.there) {
        seen.extend(kernel::at_hooks(cgroups, &cgroup.path).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    Unseen::Denied("CAP_NET_ADMIN is needed".to_owned())
                }
                Some(libc::EINVAL) => Unseen::Absent,
                _ => Unseen::Failed(error.to_string()),
            }
        })?);
    }
    if seen.iter().all(|hook| {
        hook.effective.is_empty() && hook.levels.iter().all(|level| level.programs.is_empty())
    }) {
        return Ok(Vec::new());
    }
    // Somebody is there, perhaps the daemon itself.
    let denied = || Unseen::Denied("only root can tell whose programs are attached".to_owned());
    let names = kernel::names().map_err(|_| denied())?;
    let instances = kernel::instances().map_err(|_| denied())?;
    let programs = |ids: &[u32]| {
        ids.iter()
            .map(|id| program(*id, &names, &instances, instance))
            .collect()
    };
    Ok(seen
        .into_iter()
        .map(|hook| Hook {
            name: hook.hook,
            levels: hook
                .levels
                .into_iter()
                .map(|level| Level {
                    cgroup: level.cgroup,
                    sharing: Sharing::from_flags(level.flags),
                    programs: programs(&level.programs),
                })
                .collect(),
            effective: programs(&hook.effective),
        })
        .collect())
}

fn program(
    id: u32,
    names: &BTreeMap<u32, String>,
    instances: &BTreeMap<u32, u64>,
    instance: u64,
) -> Program {
    Program {
        id,
        name: names.get(&id).filter(|name| !name.is_empty()).cloned(),
        owner: match instances.get(&id) {
            Some(owner) if *owner == instance => Owner::Us,
            Some(_) => Owner::Another,
            None => Owner::Other,
        },
    }
}

pub fn held(socket: &Path) -> Held {
    match Observer::find(kernel::instance(socket)) {
        Ok(Some(observer)) => Held::Attached(
            observer
                .attached()
                .iter()
                .map(|path| attached(path))
                .collect(),
        ),
        Ok(None) => Held::Nothing,
        Err(ObserveError::Layout { there, ours }) => Held::Layout { there, ours },
        Err(error) if errno(&error) == Some(libc::EPERM) => Held::Denied,
        Err(error) => Held::Failed(chain(&error)),
    }
}

fn attached(path: &Path) -> Attached {
    let folder = Cgroups::find().ok().map(|cgroups| cgroups.folder(path));
    let folder = folder.and_then(|folder| File::open(folder).ok());
    Attached {
        path: path.to_owned(),
        holder: folder.and_then(|folder| host::lock_holder(&folder)),
    }
}
