//! The control socket: HTTP and JSON over a unix socket, so that curl is a client.
//!
//! ```text
//! GET  /v1/status?name=SERVICE
//! GET  /v1/explain?address=ADDR:PORT&protocol=tcp|udp
//! GET  /v1/dump
//! POST /v1/plan               {"files": [{"path": "mesh.toml", "text": "..."}]}, the main file first,
//!                             or nothing: the daemon's own files
//! POST /v1/reload
//! ```
//!
//! Who may do what: root and the daemon's own user everything; members of the socket's group read,
//! and plan. Nobody can make the daemon open a file: a plan of another file comes with its text.
//!
//! The server has a thread of its own and only ever waits; the loop answers when it gets there.
//! Requests, their size, their number and the time of each are bounded, so a slow client keeps
//! nobody but itself waiting.

mod peer;
mod routes;
mod serve;

use super::Requests;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

/// Read and write for the owner and the group.
const MODE: u32 = 0o660;

/// The socket, served until this is dropped.
pub struct Control {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
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
    #[error("cannot start the thread of the control socket")]
    Thread(#[source] io::Error),
}

impl Control {
    /// Listens on `path`, whose lock we hold: a socket that is there is stale.
    pub fn listen(path: &Path, requests: Requests) -> Result<Self, ControlError> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(|source| ControlError::Listen {
            path: path.to_owned(),
            source,
        })?;
        let group = fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| fs::metadata(path))
            .map_err(|source| ControlError::Listen {
                path: path.to_owned(),
                source,
            })?
            .gid();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ControlError::Thread)?;
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || runtime.block_on(serve::serve(listener, group, requests, stopped)))
            .map_err(ControlError::Thread)?;
        Ok(Self {
            path: path.to_owned(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // First, so that nobody connects to what will not answer.
        let _ = fs::remove_file(&self.path);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), ControlError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(ControlError::Occupied(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(|source| ControlError::Remove {
            path: path.to_owned(),
            source,
        }),
        // Absent, or bind will say what is wrong.
        Err(_) => Ok(()),
    }
}
