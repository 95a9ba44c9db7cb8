//! A connection to a target.

use super::{Deadline, Failed};
use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to `address`, from `source` if there is one. Closing it resets the connection, unless the server
/// has closed it before: what is closed in order stays in TIME_WAIT for a minute, which would be tens of
/// thousands of sockets.
pub async fn connect(
    address: SocketAddr,
    source: Option<IpAddr>,
    until: Deadline,
) -> Result<TcpStream, Failed> {
    let socket = open(address).map_err(|error| words(&error))?;
    if let Some(source) = source {
        bind(&socket, source)
            .map_err(|error| format!("cannot send from {source}: {}", words(&error)))?;
    }
    let connected = until.no("answer", socket.connect(address)).await?;
    connected.map_err(|error| words(&error))
}

fn open(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_zero_linger()?;
    Ok(socket)
}

fn bind(socket: &TcpSocket, source: IpAddr) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the option is an int, and the pointer and the length are those of one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    // Otherwise the port would be taken before the destination is known, and there are but 28,000.
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(SocketAddr::new(source, 0))
}

/// An error of a socket, in words.
pub fn words(error: &io::Error) -> Cow<'static, str> {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset".into(),
        ErrorKind::ConnectionAborted => "connection aborted".into(),
        ErrorKind::TimedOut => "connection timed out".into(),
        ErrorKind::HostUnreachable => "no route to host".into(),
        ErrorKind::NetworkUnreachable => "network unreachable".into(),
        ErrorKind::AddrNotAvailable => "no such address on this host, or no free port".into(),
        ErrorKind::UnexpectedEof => "closed before the end".into(),
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => "the agent has no descriptor left".into(),
            Some(code) => nix::errno::Errno::from_raw(code).desc().into(),
            None => error.to_string().into(),
        },
    }
}
