//! What can be asked of the daemon, with where the answer goes.

use crate::api::{
    AgentReport, Connections, Duties, Explanation, Failure, FileText, PlanText, Reloaded, Status,
    TrafficSums,
};
use crate::model::{CgroupRef, Protocol};
use crate::report::Format;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What somebody on the control socket wants, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    Status {
        /// One service; all if none.
        name: Option<String>,
        reply: Reply<Later<Status>>,
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
    Connections {
        /// Of one service; all if none.
        name: Option<String>,
        reply: Reply<Later<Connections>>,
    },
    Dump {
        reply: Reply<Text>,
    },
    Traffic {
        reply: Reply<Later<TrafficSums>>,
    },
    Metrics {
        format: Format,
        reply: Reply<Text>,
    },
    /// The agent wants to know what to do.
    Duties {
        /// The answer waits until it is another revision than this.
        known: Option<u64>,
        reply: Reply<Duties>,
    },
    /// The agent says how it gets on.
    Agent {
        report: AgentReport,
        caller: Caller,
        reply: Reply<()>,
    },
}

/// Where an answer goes. Whoever asked may be gone.
pub type Reply<T> = oneshot::Sender<Result<T, Failure>>;

/// An answer whose words are still to come: the loop copies the values, and others take their time.
pub struct Later<T>(Box<dyn FnOnce() -> Result<T, Failure> + Send>);

impl<T> Later<T> {
    pub fn new(make: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Self {
        Self(Box::new(make))
    }

    pub fn make(self) -> Result<T, Failure> {
        (self.0)()
    }
}

impl<T> fmt::Debug for Later<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Later")
    }
}

/// An answer that is too long to be held: it is written as it is made.
pub struct Text(Box<Writing>);

type Writing = dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send;

impl Text {
    pub fn new(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Self {
        Self(Box::new(write))
    }

    pub fn write(self, to: &mut dyn Write) -> io::Result<()> {
        (self.0)(to)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Text")
    }
}

/// The process that asked, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub pid: Option<i32>,
}

/// Puts a request into the queue of the loop; false if the daemon is stopping.
pub type Requests = Arc<dyn Fn(Request) -> bool + Send + Sync>;
