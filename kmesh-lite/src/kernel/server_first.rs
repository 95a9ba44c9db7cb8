//! Headers for clients that wait for the server to speak.
//!
//! The header leaves with the first bytes that are sent on the socket, whoever sends them. So the
//! daemon takes hold of the socket and sends one byte, in whose place the program puts the header.
//! If the client was quicker there is nothing to do; if it is quicker by less than the daemon can
//! see, the program drops the byte. From then until the socket is out of the map, microseconds
//! later, the kernel drops what the client sends as well (EACCES): a verdict outlasts its message.
//!
//! Until the byte is gone the socket must go through the program: so it is the daemon that takes it
//! out of the map, not the first segment.

use super::bpf;
use kmesh_lite_common::Event;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Why the header waits for the client.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("cannot look at the sockets of process {process}; CAP_SYS_PTRACE is needed")]
    Process {
        process: u32,
        #[source]
        source: io::Error,
    },
    #[error("process {process} does not hold the socket any more")]
    Gone { process: u32 },
    #[error("cannot send on the socket of process {process}")]
    Send {
        process: u32,
        #[source]
        source: Errno,
    },
    #[error("cannot let go of the socket of process {process}")]
    Release {
        process: u32,
        #[source]
        source: io::Error,
    },
}

/// Makes the header of the event's socket leave now.
pub fn help(event: &Event, pending: BorrowedFd<'_>) -> Result<(), Failure> {
    let process = event.process;
    // Without the socket there is no byte of ours that could still be on its way, and leaving it
    // where it is would only cost it speed.
    let socket = find(process, event.cookie);
    let sent = socket.and_then(|socket| {
        if has_sent(&socket) {
            return Ok(());
        }
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match send(socket.as_raw_fd(), b"?", flags) {
            // The program dropped it: the client had sent something.
            Ok(_) | Err(Errno::EACCES) => Ok(()),
            // The connection is over.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(source) => Err(Failure::Send { process, source }),
        }
    });
    if sent.is_ok() {
        bpf::remove_socket(pending, event.cookie)
            .map_err(|source| Failure::Release { process, source })?;
    }
    sent
}

/// A descriptor of our own for the socket with this cookie.
fn find(process: u32, cookie: u64) -> Result<OwnedFd, Failure> {
    let denied = |source| Failure::Process { process, source };
    let handle = pidfd(process).map_err(denied)?;
    let folder = format!("/proc/{process}/fd");
    let mut numbers: Vec<i32> = fs::read_dir(folder)
        .map_err(denied)?
        .flatten()
        .filter(|entry| is_socket(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // What was opened last most often has the highest number.
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    for number in numbers {
        match taken(&handle, number) {
            Ok(socket) if cookie_of(&socket) == Some(cookie) => return Ok(socket),
            // Another one, or closed meanwhile.
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
            Err(error) => return Err(denied(error)),
        }
    }
    Err(Failure::Gone { process })
}

fn is_socket(path: &std::path::Path) -> bool {
    fs::read_link(path).is_ok_and(|target| {
        target
            .as_os_str()
            .as_encoded_bytes()
            .starts_with(b"socket:")
    })
}

fn pidfd(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    owned(fd)
}

fn taken(process: &OwnedFd, number: i32) -> io::Result<OwnedFd> {
    let process = process.as_fd().as_raw_fd();
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, number, 0) };
    owned(fd)
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn cookie_of(socket: &OwnedFd) -> Option<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value is as long as we say.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (outcome == 0).then_some(cookie)
}

/// Whether anything was ever sent on the socket, or waits to be.
fn has_sent(socket: &OwnedFd) -> bool {
    /// Offsets in `struct tcp_info` of linux/tcp.h, which only grows.
    const NOTSENT_BYTES: usize = 144;
    const DATA_SEGS_OUT: usize = 156;
    let mut info = [0_u32; 40];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the value is as long as we say.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    outcome == 0 && (info[NOTSENT_BYTES / 4] != 0 || info[DATA_SEGS_OUT / 4] != 0)
}
