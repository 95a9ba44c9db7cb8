//! One reader of events. Nobody waits for it: one that is too slow loses lines, and is told how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Lines that wait for a reader.
const WAITING: usize = 1024;

pub struct Reader<F> {
    pub filter: F,
    /// Root, or the daemon's own user.
    pub is_own: bool,
    lines: mpsc::Sender<String>,
    /// Lines that it had no room for, and has not been told of.
    lost: Arc<AtomicU64>,
}

impl<F> Reader<F> {
    /// A reader, and what it reads: lines, and how many of them it lost.
    pub fn new(filter: F, is_own: bool) -> (Self, mpsc::Receiver<String>, Arc<AtomicU64>) {
        let (lines, read) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let this = Self {
            filter,
            is_own,
            lines,
            lost: Arc::clone(&lost),
        };
        (this, read, lost)
    }

    pub fn is_there(&self) -> bool {
        !self.lines.is_closed()
    }

    pub fn send(&self, line: &str) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line.to_owned()) {
            self.lose(1);
        }
    }

    /// Tells it of so many more that it lost.
    pub fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}
