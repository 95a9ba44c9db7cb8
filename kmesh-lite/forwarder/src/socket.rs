//! Options of the sockets on either side.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::Shutdown;
use std::time::Duration;
use tokio::net::TcpStream;

/// The kernel asks after so much silence whether the other side is still there, and so often. After
/// so many questions without an answer the connection has failed.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(6);

/// Prepares a socket for relaying. Until [`ends_well`] is called, closing it resets the connection.
/// An error may close it, a timeout, a task that is cut, or the kernel after a crash.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_linger(Some(Duration::ZERO))
}

/// Lets close send the bytes that are left, and then the end of the stream.
pub fn ends_well(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(None)
}

/// Sends the end of the stream; the other direction stays open.
pub fn end_stream(stream: &TcpStream) -> io::Result<()> {
    match SockRef::from(stream).shutdown(Shutdown::Write) {
        // The connection was reset meanwhile, and its reader learns so.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
