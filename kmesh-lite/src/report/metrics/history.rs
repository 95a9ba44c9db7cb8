//! What the daemon did so far, and the series of that.
//!
//! In: passes and reloads, as the daemon counts them. Out: counters that begin with the daemon.

use super::family::{counter, family, single_counter, single_gauge};
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::time::SystemTime;

/// What the daemon did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub passes: u64,
    pub failed_passes: u64,
    /// In all passes, in seconds.
    pub pass_seconds: f64,
    /// What passes wrote.
    pub operations: u64,
    /// What passes found changed by somebody else, and put right.
    pub drift: u64,
    /// Connections that were ended for the operator.
    pub killed: u64,
    /// Endpoints that were found to be healthy, and that were found not to be, after they were otherwise.
    pub turns: [u64; 2],
    pub reloads: u64,
    pub failed_reloads: u64,
    /// Whether the last reload was applied; `None` before the first.
    pub last_reload: Option<bool>,
    /// When a reload was applied for the last time, in seconds since 1970.
    pub last_applied: Option<f64>,
    /// When the daemon began, the same way.
    pub started: f64,
}

impl History {
    /// Of a daemon that begins now.
    pub fn begun() -> Self {
        Self {
            started: unix_time(),
            ..Self::default()
        }
    }

    /// A configuration was read.
    pub fn reloaded(&mut self, applied: bool) {
        self.reloads += 1;
        self.failed_reloads += u64::from(!applied);
        self.last_reload = Some(applied);
        if applied {
            self.last_applied = Some(unix_time());
        }
    }
}

/// What the daemon did.
pub fn work(to: &mut DescriptorEncoder<'_>, history: &History) -> fmt::Result {
    let seconds = &Unit::Seconds;
    if let Some(applied) = history.last_reload {
        let help = "Whether the configuration was applied when it was read last: 1 or 0.";
        single_gauge(
            to,
            "config_last_reload_successful",
            None,
            help,
            u32::from(applied),
        )?;
    }
    if let Some(at) = history.last_applied {
        let help = "When a configuration was applied for the last time, since 1970.";
        single_gauge(
            to,
            "config_last_reload_success_timestamp",
            Some(seconds),
            help,
            at,
        )?;
    }
    let help = "How often an address that is probed became healthy or unhealthy.";
    let mut turns = family(to, "health_changes", None, MetricType::Counter, help)?;
    for (state, count) in ["healthy", "unhealthy"].into_iter().zip(history.turns) {
        counter(&mut turns, &[("state", state)], count)?;
    }
    let results = [
        (
            "applied",
            history.reloads.saturating_sub(history.failed_reloads),
        ),
        ("refused", history.failed_reloads),
    ];
    let help = "Times that the configuration was read, by what came of it.";
    let mut reloads = family(to, "config_reloads", None, MetricType::Counter, help)?;
    for (result, count) in results {
        counter(&mut reloads, &[("result", result)], count)?;
    }
    single_counter(
        to,
        "passes",
        None,
        "Comparisons of the kernel's tables with what they should hold.",
        history.passes,
    )?;
    single_counter(
        to,
        "connections_killed",
        None,
        "Connections that were ended because their endpoint was removed or drained.",
        history.killed,
    )?;
    single_counter(
        to,
        "passes_failed",
        None,
        "Passes that the kernel refused.",
        history.failed_passes,
    )?;
    single_counter(
        to,
        "pass_duration",
        Some(seconds),
        "Time spent in passes.",
        history.pass_seconds,
    )?;
    single_counter(
        to,
        "operations",
        None,
        "Writes to the kernel.",
        history.operations,
    )?;
    single_counter(
        to,
        "drift_repaired",
        None,
        "Things that somebody else had changed in the kernel, put right.",
        history.drift,
    )
}

/// Seconds since 1970.
fn unix_time() -> f64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0.0, |since| since.as_secs_f64())
}
