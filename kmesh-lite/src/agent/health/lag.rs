//! How long this host held the agent up. A probe that was given too little processor time runs into its timeout
//! as well, and says nothing of its target then.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the clock.
const BEAT: Duration = Duration::from_millis(50);
/// Lags that are remembered.
const REMEMBERED: usize = 512;

/// Beats that came late.
#[derive(Default)]
pub struct Lag {
    due: Option<Instant>,
    late: VecDeque<(Instant, Duration)>,
}

impl Lag {
    /// When `beat` wants to be called at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks at the clock, as long as it `matters`.
    pub fn beat(&mut self, now: Instant, matters: bool) {
        if let Some(late) = self.due.map(|due| now.saturating_duration_since(due))
            && late > BEAT
        {
            if self.late.len() == REMEMBERED {
                self.late.pop_front();
            }
            self.late.push_back((now, late));
        }
        self.due = matters.then(|| now + BEAT);
    }

    /// How long the agent was held up since then.
    pub fn since(&self, begun: Instant) -> Duration {
        let recent = self.late.iter().rev();
        recent
            .take_while(|(at, _)| *at >= begun)
            .map(|(_, late)| *late)
            .sum()
    }
}
