//! Limits of connections.

use std::time::Duration;

/// Bounds of the time that a connection takes, and of how many there are.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// The time from accepting a connection to the last byte of its header.
    pub header: Duration,
    /// The time for reaching the destination.
    pub connect: Duration,
    /// The time without a byte in either direction; none is for ever.
    pub idle: Option<Duration>,
    /// Connections at a time. More are not accepted and wait in the kernel's queue: a burst is
    /// served late instead of being refused.
    pub connections: u32,
    /// The time for connections to end by themselves after a request to stop.
    pub grace: Duration,
}
