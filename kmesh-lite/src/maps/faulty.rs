//! Faults on demand.

use super::{Maps, MapsError, Selection};
use crate::model::Table;
use crate::plan::Op;
use crate::tables::Actual;

/// Maps whose operations fail after a while, as a kernel's do when memory runs out or a process is
/// killed in between.
#[derive(Debug)]
pub struct Faulty<M> {
    pub maps: M,
    /// Operations that still succeed.
    pub successes: usize,
}

impl<M: Maps> Maps for Faulty<M> {
    fn capacity(&self, table: Table) -> u32 {
        self.maps.capacity(table)
    }

    fn read(&mut self) -> Result<Actual, MapsError> {
        self.maps.read()
    }

    fn read_some(&mut self, selection: &Selection) -> Result<Actual, MapsError> {
        self.maps.read_some(selection)
    }

    fn apply(&mut self, op: &Op, generation: u64) -> Result<(), MapsError> {
        if self.successes == 0 {
            return Err(MapsError {
                operation: "write",
                table: "any",
                source: std::io::Error::from(std::io::ErrorKind::OutOfMemory),
            });
        }
        self.successes -= 1;
        self.maps.apply(op, generation)
    }
}
