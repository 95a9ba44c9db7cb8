//! The control socket: what can be asked, the server of it and its client.

mod client;
mod request;
mod server;

pub use client::{Client, ClientError};
pub use request::{Caller, Reply, Request, Requests};
pub use server::{Control, ControlError};
