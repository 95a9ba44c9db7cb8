//! Programs, limits and security modules.

use super::{errno, text};
use crate::doctor::programs::{Programs, Refusal};
use crate::doctor::security::Modules;
use crate::doctor::unit::Service;
use crate::kernel::{self, LoadError};
use crate::log::chain;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

pub fn programs(missing: &[&'static str]) -> Programs {
    if !missing.is_empty() {
        return Programs::NotTried(missing.to_vec());
    }
    match kernel::probe() {
        Ok(abilities) => Programs::Loaded {
            choose_errno: abilities.choose_errno,
            know_mptcp: abilities.know_mptcp,
        },
        Err(LoadError::Skipped) => Programs::NotBuilt,
        Err(error) => Programs::Refused(refusal(&error)),
    }
}

fn refusal(error: &LoadError) -> Refusal {
    if let Some((source, log)) = error.rejected() {
        return Refusal {
            error: format!("{error}: {source}"),
            denied: source.raw_os_error() == Some(libc::EPERM) && log.is_empty(),
            log,
        };
    }
    Refusal {
        error: chain(error),
        log: String::new(),
        denied: errno(error) == Some(libc::EPERM),
    }
}

pub fn memlock(service: &Service) -> Option<u64> {
    if let Service::Known(unit) = service {
        return unit.memlock();
    }
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    Some(limit).filter(|limit| *limit != RLIM_INFINITY)
}

pub fn modules() -> Modules {
    Modules {
        list: text("/sys/kernel/security/lsm"),
        selinux: text("/sys/fs/selinux/enforce"),
        apparmor: text("/sys/module/apparmor/parameters/enabled"),
    }
}
