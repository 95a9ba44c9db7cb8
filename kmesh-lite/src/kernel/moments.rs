//! What the programs tell of connections while somebody wants to know.
//!
//! In: the ring buffer, and the counter of what it had no room for. Out: moments as values, on a thread of
//! their own.

use super::counters::{self, Counts};
use aya::maps::{MapData, RingBuf};
use kmesh_lite_common::Moment;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often losses are looked at while there is something to tell.
const LOOK: Duration = Duration::from_secs(1);

/// The ring buffer, before it is read.
pub struct Moments {
    buffer: RingBuf<MapData>,
    lost: Counts,
}

/// Who hears what is told.
pub trait Hear: Send + 'static {
    fn hear(&mut self, moment: &Moment);

    /// So many moments were lost on the way since the last call; 0 too, about once a second.
    fn lost(&mut self, moments: u64);
}

/// The reading thread; ends when this is dropped.
pub struct MomentsReader {
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Moments {
    pub(super) fn new(buffer: RingBuf<MapData>, lost: Counts) -> Self {
        Self { buffer, lost }
    }

    /// Starts the thread, which tells everything to `listener`.
    pub fn read(self, mut listener: impl Hear) -> io::Result<MomentsReader> {
        let (stopped, stop) = io::pipe()?;
        let thread = thread::Builder::new()
            .name("moments".to_owned())
            .spawn(move || read(self, &mut listener, &stopped))?;
        Ok(MomentsReader {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for MomentsReader {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that hears of connections panicked");
        }
    }
}

fn read(moments: Moments, listener: &mut impl Hear, stopped: &PipeReader) {
    let Moments { mut buffer, lost } = moments;
    // What was lost before is what somebody else did not hear.
    let mut told = counters::sum(&lost, 0).unwrap_or_default();
    let mut look = Instant::now();
    let mut rest = false;
    loop {
        while let Some(record) = buffer.next() {
            rest = false;
            match decode(&record) {
                Some(moment) => listener.hear(&moment),
                None => log::warn!("a moment of a connection has {} bytes", record.len()),
            }
            drop(record);
            if look.elapsed() >= LOOK {
                look = Instant::now();
                listener.lost(more(&lost, &mut told));
            }
        }
        // SAFETY: the buffer is open for as long as this function has it.
        let there = unsafe { BorrowedFd::borrow_raw(buffer.as_raw_fd()) };
        let mut wait = [
            PollFd::new(there, PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        // Once after the last moment, so that what follows a storm is told too; then never, until there is one.
        let patience = if rest {
            PollTimeout::NONE
        } else {
            PollTimeout::from(1_000u16)
        };
        match poll(&mut wait, patience) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return log::error!("cannot hear of connections any more: {error}"),
            Ok(_) if wait[1].any() == Some(true) => return,
            Ok(0) => {
                rest = true;
                listener.lost(more(&lost, &mut told));
            }
            Ok(_) => {}
        }
    }
}

/// What was lost since the last time.
fn more(lost: &Counts, told: &mut u64) -> u64 {
    let now = counters::sum(lost, 0).unwrap_or(*told);
    let more = now.saturating_sub(*told);
    *told = now;
    more
}

fn decode(bytes: &[u8]) -> Option<Moment> {
    // SAFETY: as many bytes as a moment has, which is valid for every bit pattern.
    (bytes.len() == size_of::<Moment>())
        .then(|| unsafe { bytes.as_ptr().cast::<Moment>().read_unaligned() })
}
