//! When a run of changes has ended.

use crate::sources::Completion;
use std::time::{Duration, Instant};

/// How long it must be quiet. An editor's rename and a copy of a few files take less.
const QUIET: Duration = Duration::from_millis(15);
/// How long it must be quiet after a change that is complete by itself: a file that was renamed into place, or
/// closed after writing. A script that does so with several files, one after the other, takes less.
const BRIEF: Duration = Duration::from_millis(3);
/// How long a run of changes can put off the pass.
const LONGEST: Duration = Duration::from_millis(200);

/// Turns a run of changes into one.
///
/// A change that is complete, and comes alone, need not wait for what may follow. Where a pass has only just
/// begun more is likely to follow, whatever the change is: a copy of a thousand files is a few passes, and not
/// one for each file.
#[derive(Debug, Default)]
pub struct Settle {
    run: Option<Changes>,
    /// When the last run ended.
    ended: Option<Instant>,
}

#[derive(Debug)]
struct Changes {
    first: Instant,
    last: Instant,
    quiet: Duration,
}

impl Settle {
    /// Notes a change.
    pub fn change(&mut self, now: Instant, completion: Completion) {
        let first = self.run.as_ref().map_or(now, |run| run.first);
        let is_first_in_a_while = self.ended.is_none_or(|ended| ended + LONGEST <= first);
        let quiet = match completion {
            Completion::Complete if is_first_in_a_while => BRIEF,
            _ => QUIET,
        };
        self.run = Some(Changes {
            first,
            last: now,
            quiet,
        });
    }

    /// When the run counts as ended, if nothing else changes.
    pub fn due(&self) -> Option<Instant> {
        let run = self.run.as_ref()?;
        Some((run.last + run.quiet).min(run.first + LONGEST))
    }

    /// Whether a run has ended; it is forgotten then.
    pub fn expire(&mut self, now: Instant) -> bool {
        let expired = self.due().is_some_and(|due| due <= now);
        if expired {
            self.run = None;
            self.ended = Some(now);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::Completion::{Begun, Complete};
    use super::*;

    #[test]
    fn a_single_change_settles_after_the_quiet_time() {
        for (completion, quiet) in [(Begun, QUIET), (Complete, BRIEF)] {
            let mut settle = Settle::default();
            let start = Instant::now();
            assert_eq!(settle.due(), None);
            settle.change(start, completion);
            assert!(!settle.expire(start + quiet / 2));
            assert!(settle.expire(start + quiet));
            assert!(!settle.expire(start + LONGEST));
        }
    }

    #[test]
    fn what_was_begun_is_waited_for_until_it_is_complete() {
        let mut settle = Settle::default();
        let start = Instant::now();
        settle.change(start, Complete);
        settle.change(start + BRIEF / 2, Begun);
        assert!(!settle.expire(start + QUIET));
        settle.change(start + QUIET, Complete);
        assert!(settle.expire(start + QUIET + BRIEF));
    }

    fn passes(every: Duration, completion: Completion) -> usize {
        let mut settle = Settle::default();
        let start = Instant::now();
        let mut passes = 0;
        for ms in 0..2000 {
            let now = start + Duration::from_millis(ms);
            passes += usize::from(settle.expire(now));
            if ms < 1000 && ms.is_multiple_of(every.as_millis() as u64) {
                settle.change(now, completion);
            }
        }
        passes
    }

    #[test]
    fn a_thousand_changes_in_a_second_are_a_handful_of_passes() {
        assert_eq!(passes(Duration::from_millis(1), Begun), 5);
        assert_eq!(passes(Duration::from_millis(1), Complete), 5);
        // The first of them seemed to be alone.
        assert_eq!(passes(BRIEF * 3, Complete), 1 + 5);
    }
}
