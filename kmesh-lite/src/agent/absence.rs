//! What is said of a daemon that does not answer: once, and not while it may still be starting.

use std::time::{Duration, Instant};

/// After its start the agent waits for so long without a word: both are started together, and the daemon
/// first reads its file and fills the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Absence {
    /// Until then nothing is said.
    patient_until: Instant,
    said: Option<String>,
}

impl Absence {
    /// Of an agent that begins now.
    pub fn begun(now: Instant) -> Self {
        Self {
            patient_until: now + PATIENCE,
            said: None,
        }
    }

    /// The daemon did not answer. Tells whether that is to be said.
    pub fn is_news(&mut self, now: Instant, why: &str) -> bool {
        if now < self.patient_until || self.said.as_deref() == Some(why) {
            return false;
        }
        self.said = Some(why.to_owned());
        true
    }

    /// It answered. Tells whether that is to be said.
    pub fn is_over(&mut self, now: Instant) -> bool {
        // From now on it is no start.
        self.patient_until = self.patient_until.min(now);
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_starts_is_waited_for_in_silence_and_one_that_stays_away_is_told_once() {
        let begun = Instant::now();
        let mut absence = Absence::begun(begun);
        assert!(!absence.is_news(begun, "nobody answers"));
        let late = begun + PATIENCE;
        assert!(absence.is_news(late, "nobody answers"));
        assert!(!absence.is_news(late, "nobody answers"));
        assert!(absence.is_news(late, "it hangs"));
        assert!(absence.is_over(late));
        assert!(!absence.is_over(late));
    }

    #[test]
    fn one_that_has_answered_and_goes_is_told_of_at_once() {
        let begun = Instant::now();
        let mut absence = Absence::begun(begun);
        assert!(!absence.is_news(begun, "nobody answers"));
        assert!(!absence.is_over(begun));
        assert!(absence.is_news(begun, "nobody answers"));
    }
}
