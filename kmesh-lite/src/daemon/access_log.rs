//! The access log: a line for each connection that is over, written by a thread of its own.
//!
//! In: what there is to tell of connections (`listeners`). Here it is decided what becomes a line (`choice`);
//! the thread writes it (`writing`) where it goes (`sink`). Lines wait in a bounded queue, and nobody waits for
//! it. What it has no room for, what the rate limit leaves out, and what cannot be written is counted.

mod choice;
mod sink;
mod writing;

#[cfg(test)]
mod tests;

use crate::api::{ConnectionEvent, LogStatus};
use crate::model::{AccessLog, LogTarget};
use choice::{Limit, is_wanted};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use writing::Writing;

/// Lines that wait.
const WAITING: usize = 8192;

/// The log, as whoever hears of connections has it; written to the end when it is dropped.
pub struct AccessLogWriter {
    wanted: AccessLog,
    queue: Option<SyncSender<Item>>,
    counts: Arc<Counts>,
    limit: Limit,
    thread: Option<JoinHandle<()>>,
}

enum Item {
    Line(Box<ConnectionEvent>),
    Wake,
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    /// The file is to be opened anew.
    reopen: AtomicBool,
    /// Why nothing can be written.
    failure: Mutex<Option<String>>,
}

impl AccessLogWriter {
    pub fn start(wanted: AccessLog) -> Self {
        let (queue, items) = sync_channel(WAITING);
        let counts = Arc::new(Counts::default());
        let to = wanted.to.clone();
        let counted = Arc::clone(&counts);
        let thread = thread::Builder::new().name("access-log".to_owned());
        let thread = thread.spawn(move || Writing::new(to, counted).run(&items));
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => {
                log::error!("cannot write the access log: no thread for it: {error}");
                None
            }
        };
        Self {
            limit: Limit::new(wanted.rate_limit),
            wanted,
            queue: Some(queue),
            counts,
            thread,
        }
    }

    pub fn wanted(&self) -> &AccessLog {
        &self.wanted
    }

    /// Logs a connection that is over, unless it is one that is not wanted. Never waits.
    pub fn write(&mut self, event: &ConnectionEvent) {
        if !is_wanted(&self.wanted, event) {
            return;
        }
        let item = Item::Line(Box::new(event.clone()));
        let queue = self.queue.as_ref().filter(|_| self.limit.admits());
        if queue.is_none_or(|queue| queue.try_send(item).is_err()) {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The kernel's buffer lost moments, of which some would have been lines.
    pub fn lost_in_kernel(&self, moments: u64) {
        self.counts.lost.fetch_add(moments, Ordering::Relaxed);
    }

    /// Opens the file anew. What waits goes into the new one.
    pub fn reopen(&self) {
        self.counts.reopen.store(true, Ordering::Relaxed);
        if let Some(queue) = &self.queue {
            // Where the queue is full, the next line does as well.
            let _ = queue.try_send(Item::Wake);
        }
    }

    pub fn tell(&self, status: &mut LogStatus) {
        status.to = Some(match &self.wanted.to {
            LogTarget::Journal => "journal".to_owned(),
            LogTarget::File(path) => path.display().to_string(),
        });
        status.written = self.counts.written.load(Ordering::Relaxed);
        status.lost = self.counts.lost.load(Ordering::Relaxed);
        status.failure = self.counts.failure().clone();
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the access log panicked");
        }
    }
}

impl Counts {
    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
