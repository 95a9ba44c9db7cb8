//! What can be asked of the daemon, with where the answer goes.

use crate::api::{Dump, Explanation, Failure, FileText, PlanText, Reloaded, Status};
use crate::model::{CgroupRef, Protocol};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What somebody on the control socket wants, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    Status {
        /// One service; all if none.
        name: Option<String>,
        reply: Reply<Status>,
    },
    Reload {
        caller: Caller,
        reply: Reply<Reloaded>,
    },
    Plan {
        /// In place of the daemon's own files.
        texts: Option<Vec<FileText>>,
        reply: Reply<PlanText>,
    },
    Explain {
        address: SocketAddr,
        protocol: Protocol,
        /// The cgroup of the program that connects; any that is captured if none.
        cgroup: Option<CgroupRef>,
        /// The program's process, if one is meant.
        pid: Option<u32>,
        reply: Reply<Explanation>,
    },
    Dump {
        reply: Reply<Dump>,
    },
}

/// Where an answer goes. Whoever asked may be gone.
pub type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// The process that asked, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub pid: Option<i32>,
}

/// Puts a request into the queue of the loop; false if the daemon is stopping.
pub type Requests = Arc<dyn Fn(Request) -> bool + Send + Sync>;
