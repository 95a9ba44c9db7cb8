//! The process at the other end of a connection.

use crate::control::Caller;
use std::io;
use std::os::fd::AsRawFd;
use tokio::net::UnixStream;

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    None,
    /// Look at the state.
    Read,
    /// Say what came of an agent's duties as well.
    Report,
    /// Change it.
    Change,
}

/// The process that connected, as the kernel saw it then.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub caller: Caller,
    pub right: Right,
}

impl Peer {
    /// Looks at the credentials of a connection to a socket of `group`. An agent is a member with the user
    /// number `agent`.
    pub fn of(stream: &UnixStream, group: u32, agent: u32) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let own = nix::unistd::geteuid().as_raw();
        let uid = credentials.uid();
        let right = if uid == 0 || uid == own {
            Right::Change
        } else if credentials.gid() == group || groups(stream)?.contains(&group) {
            if uid == agent {
                Right::Report
            } else {
                Right::Read
            }
        } else {
            Right::None
        };
        Ok(Self {
            caller: Caller {
                uid,
                pid: credentials.pid(),
            },
            right,
        })
    }
}

/// The peer's supplementary groups.
fn groups(stream: &UnixStream) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut size = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
            .map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the pointers are to `groups`, which holds `size` bytes, and to `size`; the kernel
        // writes at most that many and any bit pattern is a valid gid.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let count = size as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small: it has said how many there are.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket pair has our own credentials at both ends.
    fn inspect<T>(look: impl FnOnce(&UnixStream) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { look(&UnixStream::pair().unwrap().0) })
    }

    #[test]
    fn our_own_user_may_change() {
        let peer = inspect(|stream| Peer::of(stream, 12_345, 0).unwrap());
        assert_eq!(peer.right, Right::Change);
        assert_eq!(peer.caller.pid, i32::try_from(std::process::id()).ok());
    }

    #[test]
    fn supplementary_groups_are_those_of_the_process() {
        let mut seen = inspect(|stream| groups(stream).unwrap());
        let mut own: Vec<_> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(nix::unistd::Gid::as_raw)
            .collect();
        seen.sort_unstable();
        own.sort_unstable();
        assert_eq!(seen, own);
    }
}
