//! Per-CPU counters, one at a time.

use super::bpf::io_error;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use std::io;

/// Counters by index.
pub type Counts = PerCpuArray<MapData, u64>;

/// The count of all CPUs.
pub fn sum(counters: &Counts, index: u32) -> io::Result<u64> {
    let values = counters.get(&index, 0).map_err(io_error)?;
    Ok(values.iter().sum())
}

/// Begins to count anew.
pub fn reset(counters: &mut Counts, index: u32) -> io::Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zero = PerCpuValues::try_from(vec![0; cpus])?;
    counters.set(index, zero, 0).map_err(io_error)
}

/// Carries counts over to a map that replaces another.
pub fn copy(from: &Counts, to: &mut Counts, indexes: impl Iterator<Item = u32>) -> io::Result<()> {
    // A row that is new has an index that the old map may not have.
    for index in indexes.filter(|index| *index < from.len()) {
        let values = from.get(&index, 0).map_err(io_error)?;
        if values.iter().any(|value| *value > 0) {
            to.set(index, values, 0).map_err(io_error)?;
        }
    }
    Ok(())
}
