//! What this kernel can do and who else uses it, found out without changing anything.

use super::bpf;
pub use super::bpf::{has_membarrier, is_there as has_bpf};
use super::object::{Abilities, LoadError, Object, Reuse, SOCKETS, TABLES};
use super::server_first::Sink;
use crate::hooks::{HOOKS, Hook, Need, of_cgroups};
use crate::host::Cgroups;
use crate::model::Limits;
use aya::programs::{ProgramError, loaded_programs};
use kmesh_lite_common::Settings;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Loads the programs as the daemon does, and lets go of them.
pub fn probe() -> Result<Abilities, LoadError> {
    // Without a label nobody takes these tables for a daemon's.
    let next_to_nothing = Limits::each(|_| 1, 1, 1);
    let mut object = Object::load(
        &next_to_nothing,
        &next_to_nothing,
        Settings::default(),
        Reuse::default(),
    )?;
    object.provide(&HOOKS)?;
    Ok(object.abilities)
}

impl LoadError {
    /// The error and the log of the verifier, if it was the one that refused.
    pub fn rejected(&self) -> Option<(&io::Error, String)> {
        match self {
            Self::Program {
                source:
                    ProgramError::LoadError {
                        io_error,
                        verifier_log,
                    },
                ..
            } => Some((io_error, verifier_log.to_string())),
            _ => None,
        }
    }
}

/// Makes the connection over loopback that the daemon makes when it starts.
pub fn has_loopback() -> io::Result<()> {
    Sink::open().map(drop)
}

/// How many descriptors a daemon that is attached to so many cgroups hands to its store, at least.
pub fn kept_for(cgroups: usize) -> usize {
    let always = of_cgroups().filter(|hook| hook.need == Need::Always);
    TABLES.len() + SOCKETS.len() + cgroups * always.count()
}

/// The programs at one of our hooks of a cgroup.
#[derive(Clone, Debug)]
pub struct AtHook {
    /// The program of ours that belongs there.
    pub hook: &'static str,
    /// The cgroup, then those above it up to the root.
    pub levels: Vec<Level>,
    /// Ids of the programs that run, wherever they are attached.
    pub effective: Vec<u32>,
}

/// The programs that are attached to a cgroup itself.
#[derive(Clone, Debug)]
pub struct Level {
    pub cgroup: PathBuf,
    /// `BPF_F_ALLOW_OVERRIDE` and `BPF_F_ALLOW_MULTI` of linux/bpf.h.
    pub flags: u32,
    /// Ids.
    pub programs: Vec<u32>,
}

/// The programs at our hooks of a cgroup and of those above it. Wants CAP_NET_ADMIN.
pub fn at_hooks(cgroups: &Cgroups, path: &Path) -> io::Result<Vec<AtHook>> {
    let path = cgroups.path(path);
    let folders: Vec<_> = path
        .ancestors()
        .map(|path| Ok((path.to_owned(), File::open(cgroups.folder(path))?)))
        .collect::<io::Result<_>>()?;
    let at = |hook: &Hook| {
        let level = |(cgroup, folder): &(PathBuf, File)| {
            let (flags, programs) = bpf::programs_at(folder.as_fd(), hook.attach_type, false)?;
            Ok(Level {
                cgroup: cgroup.clone(),
                flags,
                programs,
            })
        };
        let levels = folders.iter().map(level).collect::<io::Result<_>>()?;
        let (_, innermost) = &folders[0];
        let (_, effective) = bpf::programs_at(innermost.as_fd(), hook.attach_type, true)?;
        Ok(AtHook {
            hook: hook.name,
            levels,
            effective,
        })
    };
    of_cgroups().map(at).collect()
}

/// Names of all programs by id. Wants CAP_SYS_ADMIN.
pub fn names() -> Result<BTreeMap<u32, String>, ProgramError> {
    let mut names = BTreeMap::new();
    for program in loaded_programs() {
        let program = match program {
            // Gone by the time we look.
            Err(ProgramError::SyscallError(call))
                if call.io_error.kind() == io::ErrorKind::NotFound =>
            {
                continue;
            }
            program => program?,
        };
        let name = String::from_utf8_lossy(program.name()).into_owned();
        names.insert(program.id(), name);
    }
    Ok(names)
}
