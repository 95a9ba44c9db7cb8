//! The thread that writes lines. What fails is said once, tried again every second, and what was lost is a line
//! of the log itself as soon as there can be one.

use super::sink::Sink;
use super::{Counts, Item};
use crate::api::ConnectionEvent;
use crate::daemon::few_lines::FewLines;
use crate::model::LogTarget;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often a loss is told, and what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The writing side, on its thread.
pub struct Writing {
    to: Sink,
    counts: Arc<Counts>,
    /// Losses that the log has told.
    told: u64,
    looked: Instant,
    /// When it is tried again, after a failure.
    again: Option<Instant>,
    failures: FewLines,
    /// Whether our own log has the last failure.
    is_said: bool,
}

impl Writing {
    pub fn new(to: LogTarget, counts: Arc<Counts>) -> Self {
        Self {
            to: Sink::new(to),
            counts,
            told: 0,
            looked: Instant::now(),
            again: None,
            failures: FewLines::default(),
            is_said: false,
        }
    }

    pub fn run(mut self, items: &Receiver<Item>) {
        // A file that cannot be opened is known before there is a line for it.
        let opened = self.to.open();
        self.note(&opened);
        loop {
            let item = items.recv_timeout(PAUSE);
            if self.counts.reopen.swap(false, Ordering::Relaxed) {
                self.to.close();
                let opened = self.to.open();
                self.note(&opened);
            }
            match item {
                Ok(Item::Line(event)) => self.line(&event),
                Ok(Item::Wake) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.looked.elapsed() >= PAUSE {
                self.looked = Instant::now();
                self.confess();
            }
        }
        self.confess();
    }

    fn line(&mut self, event: &ConnectionEvent) {
        if self.again.is_some_and(|again| Instant::now() < again) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let written = self.to.write(event);
        let counter = match written {
            Ok(()) => &self.counts.written,
            Err(_) => &self.counts.lost,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.note(&written);
    }

    /// Tells in the log what is missing there.
    fn confess(&mut self) {
        let lost = self.counts.lost.load(Ordering::Relaxed);
        let failing = self.counts.failure().is_some();
        if lost == self.told && !failing {
            return;
        }
        // A short line may find room where others do not.
        let room = if failing { self.to.has_room() } else { Ok(()) };
        if room.is_err() {
            return self.note(&room);
        }
        let written = match lost - self.told {
            // Whether it can be written again.
            0 => self.to.open(),
            missing => self.to.write(&ConnectionEvent::loss(missing)),
        };
        if written.is_ok() {
            self.told = lost;
        }
        self.note(&written);
    }

    /// Says once that it fails, and once that it is over.
    fn note(&mut self, outcome: &io::Result<()>) {
        let mut failure = self.counts.failure();
        match outcome {
            Ok(()) => {
                self.again = None;
                if failure.take().is_some() && std::mem::take(&mut self.is_said) {
                    log::info!("the access log is written again");
                }
            }
            Err(error) => {
                self.to.close();
                self.again = Some(Instant::now() + PAUSE);
                let text = error.to_string();
                if failure.is_none()
                    && let Some(before) = self.failures.admit(Instant::now())
                {
                    self.is_said = true;
                    log::error!(
                        "cannot write the access log {}: {text}; lines are left out until it can be written{before}",
                        self.to.name()
                    );
                }
                *failure = Some(text);
            }
        }
    }
}
