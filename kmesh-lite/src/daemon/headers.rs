//! What follows from a record about a pending header: a line in the log, or help for a client that
//! waits for its server to speak.

use super::few_lines::FewLines;
use crate::kernel::{NotHelped, Sink};
use crate::log::chain;
use kmesh_lite_common::{Event, EventKind};
use std::net::SocketAddr;
use std::time::Instant;

/// Decides about records. A client can cause as many as it likes, so each kind has few lines.
#[derive(Debug, Default)]
pub struct Headers {
    /// Clients that had ended by the time the daemon looked: nothing is wrong.
    gone: FewLines,
    not_helped: FewLines,
    closed: FewLines,
    leaked: FewLines,
}

impl Headers {
    /// Decides about one record.
    pub fn decide(&mut self, event: &Event, sink: &Sink) {
        let now = Instant::now();
        let to = SocketAddr::new(event.address.into(), event.port.get());
        let process = event.process;
        match event.kind {
            EventKind::Waiting => match sink.help(event) {
                Ok(()) => {}
                Err(NotHelped::Gone { .. }) => {
                    if let Some(before) = self.gone.admit(now) {
                        log::info!(
                            process, to:%;
                            "a client had closed its connection before a header could be sent for it{before}"
                        );
                    }
                }
                Err(error) => {
                    if let Some(before) = self.not_helped.admit(now) {
                        log::warn!(
                            process, to:%;
                            "the waypoint waits for the client's first bytes: {}{before}", chain(&error)
                        );
                    }
                }
            },
            EventKind::Leaked => {
                if let Some(before) = self.leaked.admit(now) {
                    log::error!(process, to:%; "connection not closed: {}{before}", event.kind);
                }
            }
            EventKind::ZeroCopy | EventKind::Encrypted => {
                if let Some(before) = self.closed.admit(now) {
                    log::warn!(process, to:%; "sends fail with EACCES: {}{before}", event.kind);
                }
            }
            kind => {
                if let Some(before) = self.closed.admit(now) {
                    log::warn!(process, to:%; "connection closed before its first byte: {kind}{before}");
                }
            }
        }
    }
}
