//! Headers for clients that wait for the server to speak.
//!
//! The header leaves with the first bytes that are sent on the socket, whoever sends them. So the
//! daemon takes hold of the socket and sends one byte, in whose place the program puts the header.
//!
//! If the client is quicker, the socket is an ordinary one again, on which the byte must not go out.
//! So it comes with a control message that no socket knows: TCP refuses to send it (EINVAL), while
//! the path through the program does not look at control messages. Should the client be quicker
//! while the daemon already waits for the socket's lock, the program sends the byte to the [`Sink`].

use kmesh_lite_common::{Connection, Event, Protocol};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, getpeername};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Why the header waits for the client.
#[derive(Debug, thiserror::Error)]
pub enum NotHelped {
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
}

/// A connection of the daemon with itself, to which the program sends a byte of ours that came too
/// late for the socket it was meant for.
pub struct Sink {
    socket: TcpStream,
    _other: TcpStream,
}

impl Sink {
    /// Makes the header of the event's socket leave now.
    pub fn help(&self, event: &Event) -> Result<(), NotHelped> {
        let process = event.process;
        let socket = find(process, event.cookie)?;
        if has_sent(&socket) {
            return Ok(());
        }
        let poked = poke(&socket);
        self.drain();
        match poked {
            Ok(()) => Ok(()),
            // The client had sent something.
            Err(Errno::EINVAL) => Ok(()),
            // The connection is over.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(source) => Err(NotHelped::Send { process, source }),
        }
    }

    pub(super) fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let socket = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            _other: other,
        })
    }

    fn drain(&self) {
        let mut bytes = [0; 16];
        while matches!((&self.socket).read(&mut bytes), Ok(1..)) {}
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends a byte that only sockets with a pending header take.
fn poke(socket: &OwnedFd) -> Result<(), Errno> {
    const UNKNOWN: libc::c_int = 0x7fff;
    let mut byte = *b"?";
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    let mut control = libc::cmsghdr {
        cmsg_len: size_of::<libc::cmsghdr>(),
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: UNKNOWN,
    };
    // SAFETY: plain data, for which zeroes mean "not given".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: everything that the message points to is as long as it says.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    Errno::result(sent).map(drop)
}

/// Takes descriptors of another process, which CAP_SYS_PTRACE allows.
pub struct Borrower {
    process: u32,
    handle: OwnedFd,
}

impl Borrower {
    pub fn new(process: u32) -> io::Result<Self> {
        let handle = pidfd(process)?;
        Ok(Self { process, handle })
    }

    /// The sockets with these cookies.
    pub fn sockets(&self, cookies: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, Borrowed>> {
        let mut found = BTreeMap::new();
        for number in candidates(self.process)? {
            match taken(&self.handle, number) {
                Ok(socket) => {
                    if let Some(cookie) = cookie_of(&socket).filter(|it| cookies.contains(it)) {
                        found.insert(cookie, Borrowed(socket));
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
                Err(error) => return Err(error),
            }
            if found.len() == cookies.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// A socket that another process holds as well.
pub struct Borrowed(OwnedFd);

impl Borrowed {
    /// Ends its connection, if it is this one: TCP is reset, and whoever holds the socket gets EPIPE or ECONNRESET;
    /// datagrams can neither be sent nor received any more. False if it has none, or another one.
    pub fn end(&self, connection: &Connection) -> io::Result<bool> {
        // What programs are told: where they wanted to go.
        let asked = SocketAddr::new(connection.address.into(), connection.port.get());
        let raw = self.0.as_raw_fd();
        let peer = match getpeername::<SockaddrStorage>(raw) {
            Ok(peer) => peer,
            Err(Errno::ENOTCONN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let v4 = peer.as_sockaddr_in().map(|it| SocketAddr::from(*it));
        let peer = v4.or_else(|| peer.as_sockaddr_in6().map(|it| SocketAddr::from(*it)));
        if peer.map(|it| (it.ip().to_canonical(), it.port())) != Some((asked.ip(), asked.port())) {
            return Ok(false);
        }
        if connection.protocol == Protocol::Udp {
            // Disconnected it would wait for ever: nothing wakes who waits for a datagram.
            // SAFETY: no pointers.
            return ended(unsafe { libc::shutdown(raw, libc::SHUT_RDWR) });
        }
        // SAFETY: plain data, for which zeroes mean AF_UNSPEC.
        let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
        let length = size_of_val(&nowhere) as libc::socklen_t;
        // SAFETY: the address is as long as we say.
        ended(unsafe { libc::connect(raw, &raw const nowhere, length) })
    }
}

fn ended(outcome: libc::c_int) -> io::Result<bool> {
    if outcome == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOTCONN) => Ok(false),
        _ => Err(error),
    }
}

/// A descriptor of our own for the socket with this cookie.
fn find(process: u32, cookie: u64) -> Result<OwnedFd, NotHelped> {
    let denied = |source| NotHelped::Process { process, source };
    let handle = pidfd(process).map_err(denied)?;
    for number in candidates(process).map_err(denied)? {
        match taken(&handle, number) {
            Ok(socket) if cookie_of(&socket) == Some(cookie) => return Ok(socket),
            // Another one, or closed meanwhile.
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
            Err(error) => return Err(denied(error)),
        }
    }
    Err(NotHelped::Gone { process })
}

/// Descriptors of a process that may be sockets. The one that was opened last comes first: it most often has
/// the highest number.
fn candidates(process: u32) -> io::Result<Vec<i32>> {
    let listed = match fs::read_dir(format!("/proc/{process}/fd")) {
        Ok(listed) => listed,
        // CAP_SYS_PTRACE lets us take the descriptors of another user's process, but only that user may list
        // them. Everybody may know how many there is room for.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let room = room(&status).ok_or(error)?;
            return Ok((0..room).rev().collect());
        }
        Err(error) => return Err(error),
    };
    let mut numbers: Vec<i32> = listed
        .flatten()
        .filter(|entry| is_socket(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// The size of a process's table of descriptors, from its `status`.
fn room(status: &str) -> Option<i32> {
    let size = status
        .lines()
        .find_map(|line| line.strip_prefix("FDSize:"))?;
    size.trim().parse().ok()
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
