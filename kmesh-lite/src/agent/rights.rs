//! The rights that an agent gives up which root's daemon has started, before it does anything.
//!
//! It becomes the agent's user, whom the daemon knows. The control socket is its daemon's group's, so that group stays the
//! effective one; the real one is the agent's own, and commands have no other.
//!
//! One right is kept, which is harmless by itself: to listen at ports below 1024, as DNS is asked at one. Commands do not get it.

use crate::host::agent_ids;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgid, setgroups, setresgid, setresuid};
use std::io;

/// Of <linux/capability.h>.
const CAP_NET_BIND_SERVICE: u32 = 10;
const VERSION_3: u32 = 0x2008_0522;

pub fn give_up() -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let ids = agent_ids();
    let (user, own) = (Uid::from_raw(ids.user), Gid::from_raw(ids.group));
    setgroups(&[])?;
    setresgid(own, getegid(), own)?;
    // The change of the user takes away all others' effect, and these lines the rest.
    set(libc::PR_SET_KEEPCAPS, 1)?;
    setresuid(user, user, user)?;
    keep(1 << CAP_NET_BIND_SERVICE)
}

/// Commands have no right that the unit gives the agent.
pub fn withhold_from_commands() -> io::Result<()> {
    set(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL)
}

fn set(option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    const NOTHING: libc::c_ulong = 0;
    // SAFETY: these options take numbers, as wide as a register.
    match unsafe { libc::prctl(option, value as libc::c_ulong, NOTHING, NOTHING, NOTHING) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct __user_cap_data_struct`: the first of two, with the capabilities below 32.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Of this process, which has one thread, keeps these capabilities and no others, as far as it has them.
fn keep(wanted: u32) -> io::Result<()> {
    // The second word is the thread: this one.
    let mut head = [VERSION_3, 0];
    let mut sets = [Capabilities::default(); 2];
    // SAFETY: the kernel writes two sets, as the version says.
    let got = unsafe { libc::syscall(libc::SYS_capget, head.as_mut_ptr(), sets.as_mut_ptr()) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    let kept = sets[0].permitted & wanted;
    let sets = [
        Capabilities {
            effective: kept,
            permitted: kept,
            inheritable: 0,
        },
        Capabilities::default(),
    ];
    // SAFETY: the kernel reads two sets, as the version says.
    match unsafe { libc::syscall(libc::SYS_capset, head.as_mut_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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
            look_as(getgid());
        }
        Self(())
    }
}

impl Drop for AsCommands {
    fn drop(&mut self) {
        if getegid() != getgid() {
            look_as(getegid());
        }
    }
}

fn look_as(group: Gid) {
    // SAFETY: it takes a number. Both groups are ours, so it cannot fail.
    unsafe { libc::setfsgid(group.as_raw()) };
}
