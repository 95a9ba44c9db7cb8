//! A configuration that is applied until somebody confirms it.
//!
//! It ends by a confirmation, or it is taken back: then the configuration before counts again, and the file stays
//! as it is and is not applied until it changes or a reload is asked for.

use crate::api::{TimeBase, TrialState, TrialStatus};
use crate::config::Fragments;
use std::time::Duration;

/// No trial is longer.
pub const LONGEST: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug)]
pub struct Trial {
    /// The configuration to go back to.
    pub before: Fragments,
    /// By CLOCK_MONOTONIC.
    pub begun: u64,
    pub until: u64,
    /// The same in words.
    pub begun_at: String,
    pub until_at: String,
    pub taken_back: Option<TakenBack>,
}

/// A trial that nobody confirmed.
#[derive(Clone, Debug)]
pub struct TakenBack {
    pub at: String,
    /// What the file said then.
    pub file: Fragments,
}

impl Trial {
    /// `now` is what CLOCK_MONOTONIC says.
    pub fn begin(before: Fragments, now: u64, length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let base = TimeBase::new(now);
        let until = now.saturating_add(length);
        Self {
            before,
            begun: now,
            until,
            begun_at: base.tell(now),
            until_at: base.tell(until),
            taken_back: None,
        }
    }

    /// How long it still waits; none where it was taken back. The clock begins anew with the host: where it is
    /// before the beginning, the host was restarted, and nobody waits any more.
    pub fn left(&self, now: u64) -> Option<Duration> {
        let left = match now < self.begun {
            true => 0,
            false => self.until.saturating_sub(now),
        };
        self.taken_back
            .is_none()
            .then(|| Duration::from_nanos(left))
    }

    /// The same in seconds, rounded up: a trial that waits has at least one.
    pub fn seconds_left(&self, now: u64) -> Option<u64> {
        let left = self.left(now)?;
        Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
    }

    /// How many seconds it had.
    pub fn seconds(&self) -> u64 {
        Duration::from_nanos(self.until - self.begun).as_secs()
    }

    pub fn status(&self, now: u64) -> TrialStatus {
        let taken_back = self.taken_back.as_ref();
        TrialStatus {
            state: match taken_back {
                None => TrialState::Pending,
                Some(_) => TrialState::TakenBack,
            },
            begun: self.begun_at.clone(),
            until: self.until_at.clone(),
            left_s: self.seconds_left(now),
            taken_back: taken_back.map(|it| it.at.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_trial_ends_after_its_time_and_with_the_host() {
        let trial = Trial::begin(Fragments::default(), 100 * SECOND, Duration::from_secs(60));
        assert_eq!(trial.seconds(), 60);
        let left = |now| trial.left(now).unwrap();
        assert_eq!(left(100 * SECOND), Duration::from_secs(60));
        assert_eq!(left(130 * SECOND), Duration::from_secs(30));
        assert_eq!(trial.seconds_left(159 * SECOND + 1), Some(1));
        assert_eq!(left(160 * SECOND), Duration::ZERO);
        assert_eq!(left(900 * SECOND), Duration::ZERO);
        assert_eq!(
            left(99 * SECOND),
            Duration::ZERO,
            "another start of the host"
        );
    }

    #[test]
    fn what_was_taken_back_waits_for_nothing() {
        let mut trial = Trial::begin(Fragments::default(), SECOND, LONGEST);
        assert_eq!(trial.status(SECOND).left_s, Some(3_600));
        trial.taken_back = Some(TakenBack {
            at: "then".to_owned(),
            file: Fragments::default(),
        });
        let status = trial.status(SECOND);
        assert_eq!((status.left_s, status.state), (None, TrialState::TakenBack));
        assert_eq!(status.taken_back.as_deref(), Some("then"));
    }
}
