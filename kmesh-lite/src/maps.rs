//! The port to the kernel's tables: read them, carry out one operation.
//!
//! `kernel` implements it over the real maps, [`Memory`] over plain memory, [`Faulty`] over either
//! with faults on demand.

mod actual;
mod faulty;
mod memory;
mod selection;

pub use actual::{Contents, Read, TableContents, assemble, assemble_some};
pub use faulty::Faulty;
pub use memory::{Memory, MemoryTable};
pub use selection::Selection;

use crate::model::Table;
use crate::plan::Op;
use crate::tables::Actual;

/// Tables that can be read and written.
///
/// What implementations promise, and plans rely on:
/// * A version of a row that some program may be reading is never written, nor is a key that was
///   deleted reused for another, before a grace period has ended in which all programs that ran at
///   the time have finished.
/// * `Op::Commit` changes which versions count in one store, after everything written before it can
///   be seen by every program.
pub trait Maps {
    /// Number of rows that `table` has room for.
    fn capacity(&self, table: Table) -> u32;

    /// Reads everything.
    fn read(&mut self) -> Result<Actual, MapsError>;

    /// Reads what is selected, as if there were nothing else.
    fn read_some(&mut self, selection: &Selection) -> Result<Actual, MapsError>;

    /// Carries out one operation of the plan for `generation`; doing it again changes nothing.
    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError>;
}

/// An operation on a kernel table that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} table `{table}`")]
pub struct MapsError {
    pub operation: &'static str,
    pub table: &'static str,
    #[source]
    pub source: std::io::Error,
}
