//! Everything that can happen to the daemon, in the order in which it is dealt with.

use super::settle::Settle;
use crate::control::Request;
use crate::sources::Completion;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// The source of the configuration may have changed.
    SourceChanged(Completion),
    /// A cgroup that the mesh names, or one in which there may be such, came or went.
    CgroupsChanged,
    Signal(Signal),
    Timer(Timer),
    Request(Request),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Reload,
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Compare with the kernel.
    Resync,
    /// Tell systemd that the loop turns.
    Watchdog,
}

/// The queue of events, with the timers that turn into events when they are due.
pub struct Events {
    queue: Receiver<Event>,
    settle: Settle,
    resync: Periodic,
    watchdog: Option<Periodic>,
}

struct Periodic {
    every: Duration,
    due: Instant,
}

impl Events {
    pub fn new(queue: Receiver<Event>, resync: Duration, watchdog: Option<Duration>) -> Self {
        Self {
            queue,
            settle: Settle::default(),
            resync: Periodic::new(resync),
            watchdog: watchdog.map(Periodic::new),
        }
    }

    /// Waits for the next event. Changes of the source come out once they have settled. None when nobody is
    /// left who could send one.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let now = Instant::now();
            // Due timers go first, so that a flood of requests cannot starve them.
            if let Some(watchdog) = &mut self.watchdog
                && watchdog.expire(now)
            {
                return Some(Event::Timer(Timer::Watchdog));
            }
            if self.settle.expire(now) {
                return Some(Event::SourceChanged(Completion::Complete));
            }
            if self.resync.expire(now) {
                return Some(Event::Timer(Timer::Resync));
            }
            let due = [
                Some(self.resync.due),
                self.watchdog.as_ref().map(|watchdog| watchdog.due),
                self.settle.due(),
            ];
            let due = due.into_iter().flatten().min().unwrap_or(now);
            match self.queue.recv_timeout(due.duration_since(now)) {
                Ok(Event::SourceChanged(completion)) => {
                    self.settle.change(Instant::now(), completion);
                }
                Ok(event) => return Some(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

impl Periodic {
    fn new(every: Duration) -> Self {
        Self {
            every,
            due: Instant::now() + every,
        }
    }

    fn expire(&mut self, now: Instant) -> bool {
        let expired = self.due <= now;
        if expired {
            self.due = now + self.every;
        }
        expired
    }
}
