//! Which connections become lines.

use crate::api::ConnectionEvent;
use crate::model::{AccessLog, Name};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// For so long a rate limit counts.
const SECOND: Duration = Duration::from_secs(1);

/// Whether a connection is one of those that the file asks for. Its cookie decides whether it is in the sample.
pub fn is_wanted(log: &AccessLog, event: &ConnectionEvent) -> bool {
    let named = |services: &BTreeSet<Name>| {
        let name = event.service.as_deref();
        name.is_some_and(|name| services.iter().any(|it| it.as_str() == name))
    };
    let sampled = || {
        let drawn = scatter(event.cookie.unwrap_or_default());
        drawn % u64::from(AccessLog::WHOLE) < u64::from(log.sample)
    };
    log.services.as_ref().is_none_or(named) && sampled()
}

/// How many lines a second may still have.
pub struct Limit {
    most: u32,
    since: Instant,
    left: u32,
}

impl Limit {
    pub fn new(most: u32) -> Self {
        Self {
            most,
            since: Instant::now(),
            left: most,
        }
    }

    pub fn admits(&mut self) -> bool {
        if self.since.elapsed() >= SECOND {
            self.since = Instant::now();
            self.left = self.most;
        }
        let admits = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admits
    }
}

/// The same number for the same connection, and any for the next one (splitmix64).
fn scatter(cookie: u64) -> u64 {
    let mut z = cookie.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
