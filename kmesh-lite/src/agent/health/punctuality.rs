//! Whether probes begin when they are due.

use crate::api::Check;
use log::{info, warn};
use std::time::Duration;
use tokio::time::Instant;

/// A probe that begins later than this, or than half of its interval, is late.
const LATE: Duration = Duration::from_secs(1);
/// Without a late probe for so long, they are in time again.
const CALM: Duration = Duration::from_secs(60);

/// How many probes were late, which is said when it begins and when it is over.
#[derive(Default)]
pub struct Punctuality {
    late: u64,
    worst: Duration,
    last: Option<Instant>,
    is_said: bool,
}

impl Punctuality {
    /// A probe begins so much after it was due.
    pub fn note(&mut self, late: Duration, check: &Check) {
        let most = LATE.min(Duration::from_millis(check.interval) / 2);
        if late > most {
            self.late += 1;
            self.worst = self.worst.max(late);
            self.last = Some(Instant::now());
        }
    }

    /// A probe was held up by this host, so that nothing comes of it.
    pub fn held_up(&mut self) {
        self.late += 1;
        self.last = Some(Instant::now());
    }

    pub fn say(&mut self, now: Instant, targets: usize) {
        let Some(last) = self.last else { return };
        if !self.is_said {
            self.is_said = true;
            warn!(
                "probes are late, by {:.1} s: {targets} targets are more than the agent may probe at a time, or \
                 this host has too little time for it. Timeouts do not count while it has. Checks need longer \
                 intervals, or shorter timeouts",
                self.worst.as_secs_f64()
            );
        } else if now - last > CALM {
            info!(
                "probes are in time again; {} were not, one began {:.1} s late",
                self.late,
                self.worst.as_secs_f64()
            );
            *self = Self::default();
        }
    }
}
