//! Times as these types hold them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Now.
pub fn now() -> String {
    words(Timestamp::now())
}

/// In nanoseconds since 1970.
fn since_1970() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn words(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// When CLOCK_MONOTONIC began, by the clock of the host. It is looked at once, so that a time of the former is told in
/// the same words whenever it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBase {
    /// Since 1970.
    zero_ns: i64,
}

/// By how much the clocks may differ from what they were. The host's is steered by little, and is set by much.
const DRIFT: u64 = 1_000_000_000;

impl TimeBase {
    /// `monotonic` is what that clock says now.
    pub fn new(monotonic: u64) -> Self {
        Self {
            zero_ns: since_1970().saturating_sub_unsigned(monotonic),
        }
    }

    /// The same one, as long as nobody has set the host's clock.
    pub fn kept(self, monotonic: u64) -> Self {
        let now = Self::new(monotonic);
        match now.zero_ns.abs_diff(self.zero_ns) > DRIFT {
            true => now,
            false => self,
        }
    }

    /// A time of CLOCK_MONOTONIC.
    pub fn tell(self, monotonic: u64) -> String {
        let at = i128::from(self.zero_ns) + i128::from(monotonic);
        words(Timestamp::from_nanosecond(at).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_same_words_until_the_clock_is_set() {
        let base = TimeBase::new(5_000_000_000);
        assert_eq!(base.kept(5_000_300_000), base, "a little later, or steered");
        let zero_ns = base.zero_ns - 2_000_000_000;
        let before = TimeBase { zero_ns };
        assert_ne!(before.kept(5_000_000_000), before, "set by two seconds");
        let base = TimeBase { zero_ns: 1_500_000 };
        assert_eq!(base.tell(2_000_000_000), "1970-01-01T00:00:02.001Z");
    }
}
