//! A waypoint: takes connections that begin with a header and relays them to where their client
//! wanted to go.
//!
//! In: a listening address, [`Limits`], the destinations that are [`Allowed`]. A connection goes
//! through `header` (which kind, and where to), `allowed`, a connect, and `relay`; `forward` is
//! that order. Every connection that ends other than well is counted by reason, and reset, so that
//! nobody takes a stream that was cut for a whole one.
//!
//! Does not know how a configuration is spelled; `cli` brings the two together.

mod allowed;
mod buffers;
mod counters;
mod forward;
mod forwarder;
pub mod header;
mod limits;
mod noise;
mod relay;
mod run;
mod socket;

pub use allowed::Allowed;
pub use counters::Count;
pub use forwarder::{Ended, Forwarder, ForwarderError, Handle, Options};
pub use limits::Limits;
pub use run::run;

#[cfg(test)]
mod tests;
