//! What the programs tell: connections that were closed, and those whose server may speak first.
//!
//! In: the ring buffer. Out: log lines, and headers that the daemon helps out. A thread of its own,
//! so that neither waits for a reload.

use super::server_first::{self, Sink};
use aya::maps::{MapData, RingBuf};
use kmesh_lite_common::{Event, EventKind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread::{self, JoinHandle};

/// The reading thread; ends when this is dropped.
pub struct Reader {
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts the thread.
    pub fn start(events: RingBuf<MapData>, sink: Sink) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let thread = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || read(events, &sink, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that listens to the programs panicked");
        }
    }
}

fn read(mut events: RingBuf<MapData>, sink: &Sink, stopped: &PipeReader) {
    loop {
        while let Some(event) = events.next() {
            match decode(&event) {
                Some(event) => handle(&event, sink),
                None => log::warn!("a record of the programs has {} bytes", event.len()),
            }
        }
        // SAFETY: the buffer is open for as long as this function has it.
        let buffer = unsafe { BorrowedFd::borrow_raw(events.as_raw_fd()) };
        let mut wait = [
            PollFd::new(buffer, PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut wait, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return log::error!("cannot listen to the programs any more: {error}"),
            Ok(_) if wait[1].any() == Some(true) => return,
            Ok(_) => {}
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Event> {
    // SAFETY: as many bytes as an event has, which is valid for every bit pattern.
    (bytes.len() == size_of::<Event>())
        .then(|| unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

fn handle(event: &Event, sink: &Sink) {
    let to = SocketAddr::new(event.address.into(), event.port.get());
    let process = event.process;
    match event.kind {
        EventKind::Waiting => {
            if let Err(error) = server_first::help(event, sink) {
                log::warn!(
                    process, to:%;
                    "the waypoint waits for the client's first bytes: {}", crate::log::chain(&error)
                );
            }
        }
        EventKind::Leaked => log::error!(process, to:%; "connection not closed: {}", event.kind),
        kind => log::warn!(process, to:%; "connection closed before its first byte: {kind}"),
    }
}
