//! A limit of log lines: strangers cannot fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_secs(1);
/// Lines in a window.
const LINES: u32 = 10;

/// Lets some lines through in each window. The counters have the connections of the other lines.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// The window has no beginning before the first line.
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    /// Whether to write a line at `now`; if so, how many were left out since the last one.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= LENGTH)
        {
            window.began = Some(now);
            window.lines = 0;
        }
        if window.lines == LINES {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_told_of_later() {
        let limit = LogLimit::default();
        let start = Instant::now();
        let admitted: Vec<_> = (0..100).filter_map(|_| limit.admit(start)).collect();
        assert_eq!(admitted, [0; LINES as usize]);
        assert_eq!(limit.admit(start + LENGTH), Some(90));
        assert_eq!(limit.admit(start + LENGTH), Some(0));
    }
}
