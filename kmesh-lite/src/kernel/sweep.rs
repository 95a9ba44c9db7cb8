//! Looks at all open files of the host, so that what living connections have done is added up: a connection may
//! live for days, and somebody asks now.

use super::bpf;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A sweep may take this part of a processor's time, however often somebody asks.
const SHARE: u32 = 100;
/// Numbers are never older than this, and the time that the last sweep took.
const OLDEST: Duration = Duration::from_secs(10);

/// The program that looks at each open file, and when it did.
pub struct Sweep {
    link: OwnedFd,
    last: Cell<Option<Swept>>,
}

#[derive(Clone, Copy, Debug)]
struct Swept {
    ended: Instant,
    took: Duration,
}

impl Sweep {
    pub fn new(program: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            link: bpf::iterator(program)?,
            last: Cell::new(None),
        })
    }

    /// Sweeps, unless the last time was just now.
    pub fn run(&self) -> io::Result<()> {
        let began = Instant::now();
        if self.last.get().is_some_and(|last| !last.is_old(began)) {
            return Ok(());
        }
        let swept = bpf::iterate(self.link.as_fd());
        let ended = Instant::now();
        let took = ended - began;
        self.last.set(Some(Swept { ended, took }));
        swept
    }
}

impl Swept {
    /// Whether it is time for another one.
    fn is_old(self, now: Instant) -> bool {
        let rest = self.took.saturating_mul(SHARE).min(OLDEST);
        now.saturating_duration_since(self.ended) >= rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sweep_is_not_repeated_at_once_but_within_ten_seconds() {
        let ended = Instant::now();
        let swept = |milliseconds| Swept {
            ended,
            took: Duration::from_millis(milliseconds),
        };
        let after = |milliseconds| ended + Duration::from_millis(milliseconds);
        assert!(!swept(1).is_old(after(99)));
        assert!(swept(1).is_old(after(100)));
        assert!(!swept(500).is_old(after(9_999)));
        assert!(swept(500).is_old(after(10_000)));
    }
}
