//! What can be asked of the daemon, with where the answer goes.

use super::query_filter::QueryFilter;
use crate::api::{
    AgentReport, Confirmed, ConnectionEvent, Connections, DnsReport, Duties, Explanation, Failure,
    FileText, HealthReport, KillRequest, Killed, NameExplanation, NamesReport, OrderRequest,
    Ordered, PlanText, Policies, QueriesReport, ReloadRequest, Reloaded, Session, Simulation,
    Status, Suggestion, TrafficSums, Zone,
};
use crate::model::{CgroupRef, Protocol};
use crate::report::Format;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The header of an answer that says what is hardly meant in its request; one line for each such thing.
pub const WARNING: &str = "kmesh-warning";

/// What somebody on the control socket wants, with where the answer goes.
#[derive(Debug)]
pub enum Request {
    Status {
        /// One service; all if none.
        name: Option<String>,
        reply: Reply<Later<Status>>,
    },
    Reload {
        request: ReloadRequest,
        caller: Caller,
        reply: Reply<Reloaded>,
    },
    /// What was applied is to stay.
    Confirm {
        caller: Caller,
        reply: Reply<Confirmed>,
    },
    Plan {
        /// In place of the daemon's own files.
        texts: Option<Vec<FileText>>,
        /// The SSH connection of whoever asks.
        session: Option<Session>,
        reply: Reply<PlanText>,
    },
    /// What would happen if something were down.
    Simulate {
        down: Vec<String>,
        reply: Reply<Later<Simulation>>,
    },
    Explain {
        address: SocketAddr,
        protocol: Protocol,
        whose: ExplainFor,
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
    /// Policies that would allow what was seen.
    Suggest {
        /// For so many seconds; everything that is known if none.
        within: Option<u64>,
        reply: Reply<Later<Suggestion>>,
    },
    /// Who may reach what.
    Policies {
        /// What one policy decides; everything if none.
        name: Option<String>,
        reply: Reply<Later<Policies>>,
    },
    /// Everything that happens to connections from now on.
    Trace {
        filter: Filter,
        /// And before, for so long.
        since: Duration,
        /// Root, or the daemon's own user, asks.
        is_own: bool,
        reply: Reply<Trace>,
    },
    /// Everything that the agent is asked from now on.
    TraceDns {
        filter: QueryFilter,
        /// As above.
        is_own: bool,
        reply: Reply<TraceDns>,
    },
    /// Somebody who wanted to know what happens to connections, or what is asked, has gone.
    TraceEnded,
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
    /// The operator wants something of endpoints.
    Order {
        order: OrderRequest,
        caller: Caller,
        reply: Reply<Ordered>,
    },
    /// The operator wants the connections of drained endpoints to end.
    Kill {
        kill: KillRequest,
        caller: Caller,
        reply: Reply<Killed>,
    },
    /// The agent says what it found.
    Health {
        report: HealthReport,
        reply: Reply<()>,
    },
    /// The agent says what the resolver said.
    Names {
        report: NamesReport,
        reply: Reply<()>,
    },
    /// The agent wants to know the names of the mesh.
    Zone {
        /// The revision that it knows.
        since: Option<u64>,
        /// Whether the answer waits for another one.
        wait: bool,
        reply: Reply<Later<Zone>>,
    },
    /// The agent says how serving names gets on.
    Dns {
        report: DnsReport,
        caller: Caller,
        reply: Reply<()>,
    },
    /// The agent says what it was asked.
    Queries {
        report: QueriesReport,
        /// Readers have it when it is made.
        reply: Reply<Later<()>>,
    },
    /// Where a name of the mesh leads.
    Name {
        name: String,
        reply: Reply<NameExplanation>,
    },
}

/// Who connects, where it is asked what becomes of that.
#[derive(Debug)]
pub enum ExplainFor {
    /// A program of this host.
    Program {
        /// Its cgroup; any that is captured if none.
        cgroup: Option<CgroupRef>,
        /// Its process, if one is meant.
        pid: Option<u32>,
        /// The number of its user, if one is meant.
        user: Option<u32>,
        /// The number of its group, if one is meant.
        group: Option<u32>,
    },
    /// Something at this address, to a port of this host.
    Arrival(IpAddr),
}

/// Which events a reader wants; those that agree with everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub service: Option<String>,
    pub unit: Option<String>,
    pub endpoint: Option<String>,
    /// The word for what became of it, or the name of the event.
    pub outcome: Option<String>,
    /// The authorization policy that refused it, or would have.
    pub policy: Option<String>,
}

impl Filter {
    pub fn lets(&self, event: &ConnectionEvent) -> bool {
        let agrees = |wanted: &Option<String>, there: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == there
        };
        agrees(&self.service, event.service.as_deref())
            && agrees(&self.unit, event.unit.as_deref())
            && agrees(&self.endpoint, event.endpoint.as_deref())
            && agrees(&self.policy, event.policy.as_deref())
            && (agrees(&self.outcome, event.outcome.as_deref())
                || agrees(&self.outcome, Some(&*event.event)))
    }
}

/// The answer to who wants to know what happens to connections.
#[derive(Debug)]
pub struct Trace {
    pub lines: Lines,
    /// What of the filter is not in the mesh.
    pub warnings: Later<Vec<String>>,
}

/// The answer to who wants to know what the agent is asked.
#[derive(Debug)]
pub struct TraceDns {
    pub lines: Lines,
    /// Why nothing may be told, as far as that is known.
    pub warnings: Later<Vec<String>>,
    /// None where it is no use to wait for the agent.
    pub begun: Option<Begun>,
}

/// That the agent tells what it is asked, which it does not do before somebody wants to know.
#[derive(Debug)]
pub struct Begun {
    pub heard: oneshot::Receiver<()>,
    /// Whether the reader knows that nothing is told.
    pub is_told: Arc<AtomicBool>,
}

/// Lines of events, as they come.
#[derive(Debug)]
pub struct Lines {
    pub idle: Option<Idle>,
    /// Of what was before.
    pub before: Vec<String>,
    pub lines: mpsc::Receiver<String>,
    /// How many there was no room for.
    pub lost: Arc<AtomicU64>,
}

/// What there may be to say to a reader for whom there has been nothing for a while.
pub struct Idle(Box<dyn FnMut() -> Option<String> + Send>);

impl Idle {
    pub fn new(say: impl FnMut() -> Option<String> + Send + 'static) -> Self {
        Self(Box::new(say))
    }

    /// A line, if there is something to say.
    pub fn say(&mut self) -> Option<String> {
        (self.0)()
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Idle")
    }
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
