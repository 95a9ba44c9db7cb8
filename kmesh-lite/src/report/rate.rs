//! Connects that may be made within a second, and those that were.

use kmesh_lite_common::Picking;
use std::time::Duration;

/// A rate, and how much of it is used up.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Nanoseconds between connects.
    pub interval: u32,
    /// When as many connects would have been allowed as there were.
    pub due: u64,
    /// Both in nanoseconds of CLOCK_MONOTONIC.
    pub now: u64,
}

impl Rate {
    /// How many connects are allowed at this moment.
    pub fn left(self) -> u64 {
        let room = (self.now + Picking::SAVED).saturating_sub(self.due.max(self.now));
        room / u64::from(self.interval.max(1))
    }

    /// When the next one is allowed, in words.
    pub fn wait(self) -> String {
        let at = self.due.saturating_add(self.interval.into());
        let ahead = at.saturating_sub(self.now + Picking::SAVED);
        let wait = Duration::from_millis(ahead.div_ceil(1_000_000));
        format!("; the next one is allowed in {wait:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever was made, as many more are allowed as are left.
    #[test]
    fn what_is_left_is_what_is_due() {
        let now = 5_000_000_000;
        for interval in [1, 3, 20_000_000, 333_333_333, 1_000_000_000] {
            for ahead in [-1_000_i64, 0, 1, 500_000_000, 999_999_999, 1_000_000_000] {
                let due = now + Picking::SAVED / 2;
                let due = due.saturating_add_signed(ahead - 500_000_000);
                let rate = Rate { interval, due, now };
                let allows = |connects: u64| {
                    let due = due.max(now) + connects * u64::from(interval);
                    Picking::is_due(due, now, interval.into())
                };
                let left = rate.left();
                assert!(!allows(left), "{rate:?}");
                assert!(left == 0 || allows(left - 1), "{rate:?}");
            }
        }
    }
}
