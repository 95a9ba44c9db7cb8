//! The control socket: what can be asked, the server of it and its client.

mod client;
mod lock;
mod query_filter;
mod request;
mod server;

pub use client::{Client, ClientError, process, request};
pub use lock::{Lock, LockError, holder_of as lock_holder, make_folder};
pub use query_filter::{NamePattern, QueryFilter};
pub use request::{
    Begun, Caller, ExplainFor, Filter, Idle, Later, Lines, Reply, Request, Requests, Text, Trace,
    TraceDns, WARNING,
};
pub use server::{Control, ControlError, Stalling};
