//! What a connection may take.

use std::time::Duration;

/// Bounds of time and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accepting a connection to the last byte of its header.
    pub header: Duration,
    /// For reaching the destination.
    pub connect: Duration,
    /// Without a byte in either direction; none: for ever.
    pub idle: Option<Duration>,
    /// Connections at a time. More are not accepted and wait in the kernel's queue: a burst is
    /// served late instead of being refused.
    pub connections: u32,
    /// For connections to end by themselves when we stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            idle: None,
            connections: 10_000,
            grace: Duration::from_secs(30),
        }
    }
}
