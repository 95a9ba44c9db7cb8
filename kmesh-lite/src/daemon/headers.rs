//! What follows from a record about a pending header: a line in the log, or help for a client that
//! waits for its server to speak.

use crate::kernel::Sink;
use crate::log::chain;
use kmesh_lite_common::{Event, EventKind};
use std::net::SocketAddr;

/// Decides about one record.
pub fn decide(event: &Event, sink: &Sink) {
    let to = SocketAddr::new(event.address.into(), event.port.get());
    let process = event.process;
    match event.kind {
        EventKind::Waiting => {
            if let Err(error) = sink.help(event) {
                log::warn!(
                    process, to:%;
                    "the waypoint waits for the client's first bytes: {}", chain(&error)
                );
            }
        }
        EventKind::Leaked => log::error!(process, to:%; "connection not closed: {}", event.kind),
        kind => log::warn!(process, to:%; "connection closed before its first byte: {kind}"),
    }
}
