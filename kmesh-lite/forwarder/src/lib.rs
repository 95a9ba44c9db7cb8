//! The forwarder is a small waypoint: it takes connections that begin with a header and relays them to
//! the address that their client wanted.
//!
//! In: a listening address, [`ConnectionLimits`], the destinations that are [`Allowed`]. A connection
//! goes through `header` (its kind, and its destination), `allowed`, a connect, and `relay`; `forward`
//! is that order. A connection that does not end well is counted by its reason, and it is reset, so that
//! nobody takes a stream that was cut for a whole one.
//!
//! The forwarder knows neither a mesh nor how a configuration is spelled: `kmesh-lite waypoint` makes
//! plain values of both.

mod allowed;
mod buffers;
mod counters;
mod forward;
mod forwarder;
mod header;
mod limits;
mod log_limit;
mod relay;
mod run;
mod socket;

pub use allowed::Allowed;
pub use forwarder::{Ended, ForwarderError, ForwarderOptions};
pub use header::Accept;
pub use limits::ConnectionLimits;
pub use run::run;

#[cfg(test)]
mod tests;
