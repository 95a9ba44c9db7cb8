//! The clock by which the kernel says since when something is.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds of CLOCK_MONOTONIC, which programs in the kernel read as well.
pub fn monotonic() -> u64 {
    // It always exists.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}
