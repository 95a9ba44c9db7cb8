//! Keeps strangers from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);
/// Lines a window.
const LINES: u32 = 10;

/// Decides which lines are worth writing. What is left out is in the counters.
#[derive(Debug, Default)]
pub struct Noise(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the window began; none before the first line.
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Noise {
    /// Whether to write a line at `now`; if so, how many were left out since the last one.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .began
            .is_none_or(|began| now.saturating_duration_since(began) >= WINDOW)
        {
            state.began = Some(now);
            state.lines = 0;
        }
        if state.lines == LINES {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_told_of_later() {
        let noise = Noise::default();
        let start = Instant::now();
        let admitted: Vec<_> = (0..100).filter_map(|_| noise.admit(start)).collect();
        assert_eq!(admitted, [0; LINES as usize]);
        assert_eq!(noise.admit(start + WINDOW), Some(90));
        assert_eq!(noise.admit(start + WINDOW), Some(0));
    }
}
