//! The kernel's tables.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Named values in reading order.
pub type Row = Map<String, Value>;

/// `GET /v1/dump`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dump {
    /// Version of the tables' layout.
    pub layout_version: u32,
    pub tables: Vec<DumpTable>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DumpTable {
    pub name: String,
    /// Rows in use; ids are resolved to names beside them.
    pub rows: Vec<Row>,
}
