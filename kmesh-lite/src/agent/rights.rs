//! The rights that an agent gives up which root's daemon has started, before it does anything.
//!
//! It becomes the agent's user, whom the daemon knows. The control socket is its daemon's group's, so that group stays the
//! effective one; the real one is the agent's own, and commands have no other.

use crate::host::agent_ids;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgid, setgroups, setresgid, setresuid};
use std::io;

pub fn give_up() -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let ids = agent_ids();
    let (user, own) = (Uid::from_raw(ids.user), Gid::from_raw(ids.group));
    setgroups(&[])?;
    setresgid(own, getegid(), own)?;
    setresuid(user, user, user)?;
    Ok(())
}

/// Leaves a command no group but the agent's own. Only system calls, as has to be between fork and exec.
pub fn give_up_group() -> io::Result<()> {
    let own = getgid();
    // Where there is no other one, the unit forbids the call.
    if getegid() != own {
        let own = own.as_raw();
        // SAFETY: it takes numbers. By system call: what glibc would do besides is for processes with threads.
        if unsafe { libc::syscall(libc::SYS_setresgid, own, own, own) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// While this lives, this thread looks at files with the group of commands: the kernel shows their environment to nobody
/// else.
pub struct AsCommands(());

impl AsCommands {
    pub fn begin() -> Self {
        if getegid() != getgid() {
            set(getgid());
        }
        Self(())
    }
}

impl Drop for AsCommands {
    fn drop(&mut self) {
        if getegid() != getgid() {
            set(getegid());
        }
    }
}

fn set(group: Gid) {
    // SAFETY: it takes a number. Both groups are ours, so it cannot fail.
    unsafe { libc::setfsgid(group.as_raw()) };
}
