//! When a run of changes has ended.

use std::time::{Duration, Instant};

/// How long it must be quiet. An editor's rename and a copy of a few files take less.
const QUIET: Duration = Duration::from_millis(15);
/// How long a run of changes can put off the pass.
const LONGEST: Duration = Duration::from_millis(200);

/// Turns a run of changes into one.
#[derive(Debug, Default)]
pub struct Settle {
    run: Option<Changes>,
}

#[derive(Debug)]
struct Changes {
    first: Instant,
    last: Instant,
}

impl Settle {
    /// Notes a change.
    pub fn change(&mut self, now: Instant) {
        let first = self.run.as_ref().map_or(now, |run| run.first);
        self.run = Some(Changes { first, last: now });
    }

    /// When the run counts as ended, if nothing else changes.
    pub fn due(&self) -> Option<Instant> {
        let run = self.run.as_ref()?;
        Some((run.last + QUIET).min(run.first + LONGEST))
    }

    /// Whether a run has ended; it is forgotten then.
    pub fn expire(&mut self, now: Instant) -> bool {
        let expired = self.due().is_some_and(|due| due <= now);
        if expired {
            self.run = None;
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_change_settles_after_the_quiet_time() {
        let mut settle = Settle::default();
        let start = Instant::now();
        assert_eq!(settle.due(), None);
        settle.change(start);
        assert!(!settle.expire(start + QUIET / 2));
        assert!(settle.expire(start + QUIET));
        assert!(!settle.expire(start + LONGEST));
    }

    #[test]
    fn a_thousand_changes_in_a_second_are_a_handful_of_passes() {
        let mut settle = Settle::default();
        let start = Instant::now();
        let mut passes = 0;
        for ms in 0..2000 {
            let now = start + Duration::from_millis(ms);
            passes += usize::from(settle.expire(now));
            if ms < 1000 {
                settle.change(now);
            }
        }
        assert_eq!(passes, 5);
    }
}
