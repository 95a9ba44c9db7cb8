//! Options of the sockets on either side.

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use std::io;
use std::os::fd::AsRawFd;
use tokio::net::TcpStream;

/// Seconds of silence before the kernel asks whether the other side is still there, seconds
/// between its questions, and how many stay unanswered before the connection has failed.
const KEEPALIVE: (u32, u32, u32) = (60, 10, 6);

/// Prepares a socket for relaying. Until [`ends_well`] is called, closing it resets the connection,
/// whoever closes it: an error, a timeout, a task that is cut, or the kernel after a crash.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let (idle, interval, count) = KEEPALIVE;
    setsockopt(stream, sockopt::TcpNoDelay, &true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &idle)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &interval)?;
    setsockopt(stream, sockopt::TcpKeepCount, &count)?;
    linger(stream, true)
}

/// Lets close send what is left, and then the end of the stream.
pub fn ends_well(stream: &TcpStream) -> io::Result<()> {
    linger(stream, false)
}

fn linger(stream: &TcpStream, reset: bool) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: reset.into(),
        l_linger: 0,
    };
    Ok(setsockopt(stream, sockopt::Linger, &linger)?)
}

/// Sends the end of the stream; the other direction stays open.
pub fn end_stream(stream: &TcpStream) -> io::Result<()> {
    match shutdown(stream.as_raw_fd(), Shutdown::Write) {
        // Reset meanwhile: whoever reads from it learns so.
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
