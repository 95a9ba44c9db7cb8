//! A limit of log lines of one kind: one at once, then a summary for each minute.

use std::fmt;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(60);

/// Lets one line through in each pause, which says how many were left out before it.
#[derive(Debug, Default)]
pub struct FewLines {
    last: Option<Instant>,
    left_out: u64,
}

/// How many lines were left out; as the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl FewLines {
    /// Whether to write a line at `now`.
    pub fn admit(&mut self, now: Instant) -> Option<LeftOut> {
        let soon = |last: Instant| now.saturating_duration_since(last) < PAUSE;
        if self.last.is_some_and(soon) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(LeftOut(std::mem::take(&mut self.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            several => write!(f, " (and {several} more like it since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_a_number_a_minute_later() {
        let mut lines = FewLines::default();
        let start = Instant::now();
        let admitted: Vec<_> = (0..1180).filter_map(|_| lines.admit(start)).collect();
        assert_eq!(admitted, [LeftOut(0)]);
        assert_eq!(admitted[0].to_string(), "");
        let later = lines.admit(start + PAUSE).expect("a line");
        assert_eq!(
            later.to_string(),
            " (and 1179 more like it since the last such line)"
        );
        assert_eq!(lines.admit(start + 2 * PAUSE), Some(LeftOut(0)));
    }
}
