//! The kernel's tables.
//!
//! `GET /v1/dump` is `{"layout_version": N, "tables": [{"name": "...", "rows": [ROW, ...]}, ...]}`. No
//! type holds all of it, because there may be millions of rows: both sides deal with one at a time.

use serde_json::{Map, Value};

/// A row in use: named values in reading order, with names beside ids.
pub type Row = Map<String, Value>;
