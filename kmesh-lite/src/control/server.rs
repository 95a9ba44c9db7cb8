//! The control socket: HTTP and JSON over a unix socket, so that curl is a client.
//!
//! ```text
//! GET  /v1/status?name=SERVICE
//! GET  /v1/explain?address=ADDR:PORT&protocol=tcp|udp&cgroup=&pid=&user=UID
//! GET  /v1/dump
//! GET  /v1/trace?service=&unit=&endpoint=&outcome=&since=SECONDS
//! GET  /v1/trace/dns?service=&name=&outcome=
//! POST /v1/plan               {"files": [{"path": "mesh.toml", "text": "..."}]}, the main file first,
//!                             or nothing: the daemon's own files
//! POST /v1/reload
//! GET  /v1/agent?revision=NUMBER  what an agent is to do, once that is another revision
//! POST /v1/agent              {"metrics": [{"listen": "127.0.0.1:9900"}]}, how the agent gets on
//! GET  /metrics
//! ```
//!
//! Who may do what: root and the daemon's own user everything; members of the socket's group read,
//! and plan; one with the user of the agent reports as well. Nobody can make the daemon open a file: a plan of another file comes with its text.
//!
//! The server has a thread of its own and only ever waits; the loop answers when it gets there, with
//! values, and threads beside it make words of them. Each user has a number of connections, readers
//! have answers made for them in turn, and root and the daemon's own user wait for none of them.
//! Heads, bodies and reading have a time each, and a long answer is made no faster than it is read.

mod asker;
mod body;
mod events;
mod peer;
mod place;
mod routes;
mod serve;
mod slots;
mod stall;

pub use stall::Stalling;

use super::{Lock, LockError, Requests};
use place::Place;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

/// Threads that make words of values: a dump for a reader, one for root, and the scrapes of the agent wait
/// for those who read them, and the others do not wait.
const WORDS: usize = 4 + slots::SCRAPES;

/// The socket, served until this is dropped.
pub struct Control {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Option<Lock>>>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("cannot replace {}: it is not a socket", .0.display())]
    Occupied(PathBuf),
    #[error("cannot remove the stale socket {}", .path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on {}", .path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot start the thread of the control socket")]
    Thread(#[source] io::Error),
}

impl ControlError {
    /// Whether it is only that the file system is full.
    fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::Listen { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Lock(error) => error.is_for_want_of_room(),
            Self::Occupied(_) | Self::Remove { .. } | Self::Thread(_) => false,
        }
    }
}

impl Control {
    /// Listens on `path`. Without a lock, which a full file system may be the reason for, the lock is
    /// taken too; where there is no room, all of that is done when there is.
    pub fn listen(
        path: &Path,
        lock: Option<Lock>,
        requests: Requests,
    ) -> Result<Self, ControlError> {
        let mut place = Place::new(path, lock);
        let bound = match place.mend() {
            Err(error) if error.is_for_want_of_room() => place.mend_later(),
            bound => bound?,
        };
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORDS)
            .build()
            .map_err(ControlError::Thread)?;
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || runtime.block_on(serve::serve(place, bound, requests, stopped)))
            .map_err(ControlError::Thread)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Removes the socket; nobody else may listen on it as long as the lock is held.
    pub fn stop(mut self) -> Option<Lock> {
        self.end()
    }

    fn end(&mut self) -> Option<Lock> {
        drop(self.stop.take());
        self.thread.take()?.join().ok()?
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.end());
    }
}
