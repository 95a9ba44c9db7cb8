//! Which connections are logged, and where.

use super::Name;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// One line for each connection that ended or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    pub to: LogTarget,
    /// All services if none.
    pub services: Option<BTreeSet<Name>>,
    /// Of a million connections so many are logged.
    pub sample: u32,
    /// Lines a second.
    pub rate_limit: u32,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Journal,
    /// A file, whose path begins with `/`.
    File(PathBuf),
}

impl AccessLog {
    /// All connections.
    pub const WHOLE: u32 = 1_000_000;
    /// Lines a second unless something else is said.
    pub const RATE_LIMIT: u32 = 1_000;
}
