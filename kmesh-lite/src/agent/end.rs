//! When the agent is to end.

use log::debug;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

/// Comes back when a signal ends the agent, or the daemon that it is a child of is gone.
pub async fn end(is_child: bool) {
    tokio::select! {
        () = asked(SignalKind::terminate()) => {}
        () = asked(SignalKind::interrupt()) => {}
        () = gone(), if is_child => {}
    }
}

async fn asked(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        // It ends the process, as it does by itself.
        Err(error) => {
            debug!("cannot wait for a signal: {error}");
            pending().await
        }
    }
}

/// The other end of stdin is the daemon's, and is closed with it.
async fn gone() {
    match daemon() {
        Ok(daemon) => while daemon.readable().await.is_ok() && is_there(&daemon) {},
        Err(error) => {
            debug!("cannot follow the daemon to its end: {error}");
            pending().await
        }
    }
}

fn daemon() -> io::Result<UnixStream> {
    let daemon = io::stdin().as_fd().try_clone_to_owned()?;
    let daemon = net::UnixStream::from(daemon);
    daemon.set_nonblocking(true)?;
    UnixStream::from_std(daemon)
}

fn is_there(daemon: &UnixStream) -> bool {
    match daemon.try_read(&mut [0; 16]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
