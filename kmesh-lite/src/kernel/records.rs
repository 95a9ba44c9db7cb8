//! What the programs tell of sockets: connections that were closed, and those whose server may speak
//! first.
//!
//! In: the ring buffer. Out: records, as values, on a thread of their own, so that nothing which is
//! decided about them waits for a pass.

use super::server_first::Sink;
use aya::maps::{MapData, RingBuf};
use kmesh_lite_common::Event;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread::{self, JoinHandle};

/// The ring buffer, before it is read.
pub struct Records {
    buffer: RingBuf<MapData>,
    sink: Sink,
}

/// The reading thread; ends when this is dropped.
pub struct Reader {
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Records {
    pub(super) fn new(buffer: RingBuf<MapData>, sink: Sink) -> Self {
        Self { buffer, sink }
    }

    /// Starts the thread, which calls `decide` with every record.
    pub fn read(
        self,
        mut decide: impl FnMut(&Event, &Sink) + Send + 'static,
    ) -> io::Result<Reader> {
        let (stopped, stop) = io::pipe()?;
        let thread = thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || read(self, &mut decide, &stopped))?;
        Ok(Reader {
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

fn read(records: Records, decide: &mut impl FnMut(&Event, &Sink), stopped: &PipeReader) {
    let Records { mut buffer, sink } = records;
    loop {
        while let Some(record) = buffer.next() {
            match decode(&record) {
                Some(event) => decide(&event, &sink),
                None => log::warn!("a record of the programs has {} bytes", record.len()),
            }
        }
        // SAFETY: the buffer is open for as long as this function has it.
        let there = unsafe { BorrowedFd::borrow_raw(buffer.as_raw_fd()) };
        let mut wait = [
            PollFd::new(there, PollFlags::POLLIN),
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
