//! The way from the actual tables to the desired ones, as a value.
//!
//! In: actual and desired tables. Out: an ordered list of operations that leaves no choice to
//! the code that carries it out, and the same in words.

mod diff;
mod differing;
mod drift;
mod op;
mod summary;

pub use diff::diff;
pub use drift::drift;
pub use op::Op;
pub use summary::summary;

use crate::model::Table;
use std::fmt;

/// Operations in order. Everything before [`Op::Commit`] is invisible to programs, and everything
/// after it takes away what they no longer see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the commit makes current.
    pub generation: u64,
    pub ops: Vec<Op>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Rows that `table` must have room for.
    pub fn need(&self, table: Table) -> u64 {
        self.ops.iter().map(|op| op.need(table)).max().unwrap_or(0)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in &self.ops {
            writeln!(f, "{op}")?;
        }
        Ok(())
    }
}
