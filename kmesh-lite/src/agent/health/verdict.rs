//! Whether a target is healthy, as its probes say one after another.

use crate::api::Check;

/// What is held of a target, and how many probes in a row said something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    healthy: Option<bool>,
    against: u32,
}

impl Verdict {
    /// Before any probe, as somebody else holds it.
    pub fn believed(healthy: Option<bool>) -> Self {
        Self {
            healthy,
            against: 0,
        }
    }

    /// None while nothing is known: until the first probe succeeds, or as many fail in a row as make a
    /// healthy target unhealthy. One lost packet at the start is no reason to leave an endpoint out, and
    /// one answer is enough to use an endpoint of which nothing bad is known.
    pub fn healthy(self) -> Option<bool> {
        self.healthy
    }

    /// Takes what one more probe says. Tells whether the verdict is another one now.
    pub fn take(&mut self, success: bool, check: &Check) -> bool {
        if self.healthy == Some(success) {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let needed = match (self.healthy, success) {
            (None, true) => 1,
            (Some(_), true) => check.rise,
            (_, false) => check.fall,
        };
        let turns = self.against >= needed;
        if turns {
            *self = Self::believed(Some(success));
        }
        turns
    }

    /// Whether the next probe is to come after the ordinary interval.
    pub fn is_settled(self) -> bool {
        self.healthy == Some(true) && self.against == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::health::tests::check;

    fn walk(from: Option<bool>, probes: &[bool]) -> Vec<Option<bool>> {
        let check = Check {
            rise: 2,
            fall: 3,
            ..check()
        };
        let mut verdict = Verdict::believed(from);
        let step = |success: &bool| {
            let before = verdict.healthy();
            let turned = verdict.take(*success, &check);
            assert_eq!(turned, verdict.healthy() != before);
            verdict.healthy()
        };
        probes.iter().map(step).collect()
    }

    #[test]
    fn a_verdict_turns_after_so_many_in_a_row() {
        let (up, down) = (Some(true), Some(false));
        let falls = [false, false, true, false, false, false];
        assert_eq!(walk(up, &falls), [up, up, up, up, up, down]);
        let rises = [true, false, true, true, false];
        assert_eq!(walk(down, &rises), [down, down, down, up, up]);
    }

    #[test]
    fn the_first_success_is_enough_where_nothing_is_known_and_one_failure_is_not() {
        assert_eq!(walk(None, &[true]), [Some(true)]);
        let fails = [false, false, false];
        assert_eq!(walk(None, &fails), [None, None, Some(false)]);
    }

    #[test]
    fn only_what_is_healthy_and_was_so_at_the_last_probe_is_settled() {
        assert!(!Verdict::believed(None).is_settled());
        assert!(!Verdict::believed(Some(false)).is_settled());
        let mut verdict = Verdict::believed(Some(true));
        assert!(verdict.is_settled());
        verdict.take(false, &Check { fall: 2, ..check() });
        assert!(!verdict.is_settled());
    }
}
