//! Connections, counted by what happened to them.

use crate::header::Malformed;
use std::collections::BTreeMap;
use std::fmt;
use tokio::sync::watch;

/// An event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Count {
    Accepted,
    /// The destination accepted.
    Forwarded,
    /// Both sides ended their stream.
    Finished,
    /// A connection of the proxy itself, which goes nowhere.
    Local,
    /// The client closed without a byte, as a port check does.
    Empty,
    /// The client closed within the header.
    Truncated,
    Failed,
    HeaderTimeout,
    Malformed(Malformed),
    NotAllowed,
    /// The destination is the forwarder itself.
    Loop,
    ConnectFailed,
    ConnectTimeout,
    /// One side failed while relaying.
    Broken,
    IdleTimeout,
    /// The forwarder cut the connection when it stopped.
    Cut,
    /// Accepting waited for a connection to end.
    Full,
    AcceptFailed,
}

impl Count {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Forwarded => "forwarded",
            Self::Finished => "finished",
            Self::Local => "local",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::Failed => "failed",
            Self::HeaderTimeout => "header_timeout",
            Self::Malformed(malformed) => malformed.as_str(),
            Self::NotAllowed => "not_allowed",
            Self::Loop => "loop",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Broken => "broken",
            Self::IdleTimeout => "idle_timeout",
            Self::Cut => "cut",
            Self::Full => "full",
            Self::AcceptFailed => "accept_failed",
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A connection makes a handful of increments, so their lock is no cost. Tests wait for a counter.
#[derive(Debug, Default)]
pub struct ConnectionCounters(watch::Sender<BTreeMap<Count, u64>>);

impl ConnectionCounters {
    pub fn add(&self, count: Count) {
        self.add_many(count, 1);
    }

    pub fn add_many(&self, count: Count, number: u64) {
        if number > 0 {
            self.0
                .send_modify(|counters| *counters.entry(count).or_default() += number);
        }
    }

    /// ConnectionCounters that are not 0.
    pub fn read(&self) -> BTreeMap<Count, u64> {
        self.0.borrow().clone()
    }

    /// Waits until `count` is at least `number`.
    #[cfg(test)]
    pub async fn reach(&self, count: Count, number: u64) {
        let reached =
            |counters: &BTreeMap<_, _>| counters.get(&count).is_some_and(|n| *n >= number);
        // Waiting cannot fail: the sender is ours.
        let _ = self.0.subscribe().wait_for(reached).await;
    }
}

/// `accepted=3 forwarded=2 not_allowed=1`
impl fmt::Display for ConnectionCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = self.read();
        if counters.is_empty() {
            return f.write_str("no connection yet");
        }
        let text: Vec<_> = counters
            .iter()
            .map(|(count, number)| format!("{count}={number}"))
            .collect();
        f.write_str(&text.join(" "))
    }
}
