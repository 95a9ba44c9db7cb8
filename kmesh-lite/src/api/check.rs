//! Whether a configuration is valid.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// `check --json`; not a route, because no daemon is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub valid: bool,
    #[serde(serialize_with = "super::path::one")]
    pub path: PathBuf,
    /// Every file that was read.
    #[serde(serialize_with = "super::path::all")]
    pub files: Vec<PathBuf>,
    pub errors: usize,
    pub problems: Value,
    /// How many services a valid configuration has; null for another.
    pub services: Option<usize>,
    /// How many endpoints a valid configuration has, counted in every service; null for another.
    pub endpoints: Option<usize>,
    /// Valid parts that this version cannot run: there are none any more.
    pub unsupported: [Value; 0],
}
