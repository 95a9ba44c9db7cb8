//! Per-CPU counters, one at a time.

use super::bpf::{Batch, io_error};
use aya::maps::{IterableMap, MapData, PerCpuArray, PerCpuValues};
use std::io;
use std::os::fd::AsFd;

/// Counters by index.
pub type Counts = PerCpuArray<MapData, u64>;

/// The count of all CPUs.
pub fn sum(counters: &Counts, index: u32) -> io::Result<u64> {
    let values = counters.get(&index, 0).map_err(io_error)?;
    Ok(values.iter().sum())
}

/// An error of the kernel's own, which no header for programs has.
const ENOTSUPP: i32 = 524;

/// Counters that are read by one call.
const AT_ONCE: u32 = 16 * 1024;

/// The counts of all CPUs at these places, which are in order: one call for each would take most of the time of an
/// answer about 100,000 endpoints.
pub fn sums(counters: &Counts, indexes: &[u32]) -> io::Result<Vec<u64>> {
    let singly = || indexes.iter().map(|index| sum(counters, *index)).collect();
    // Whoever wants a few does not read all.
    if indexes.len() < counters.len() as usize / 8 {
        return singly();
    }
    match all(counters) {
        Ok(all) => Ok(indexes
            .iter()
            .map(|index| all.get(*index as usize).copied().unwrap_or_default())
            .collect()),
        // Kernels before 5.13 cannot.
        Err(error) if matches!(error.raw_os_error(), Some(ENOTSUPP | libc::EINVAL)) => singly(),
        Err(error) => Err(error),
    }
}

fn all(counters: &Counts) -> io::Result<Vec<u64>> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let room = AT_ONCE.min(counters.len()) as usize;
    let mut keys = vec![0; room * size_of::<u32>()];
    let mut values = vec![0; room * cpus * size_of::<u64>()];
    let mut found = vec![0; counters.len() as usize];
    let mut batch = Batch::new();
    loop {
        let map = counters.map().fd().as_fd();
        let count = batch.read(map, &mut keys, &mut values, room as u32)? as usize;
        if count == 0 {
            return Ok(found);
        }
        let (keys, _) = keys.as_chunks();
        let (values, _) = values.as_chunks();
        for (key, values) in keys.iter().zip(values.chunks_exact(cpus)).take(count) {
            let counts = values.iter().map(|count| u64::from_ne_bytes(*count));
            if let Some(place) = found.get_mut(u32::from_ne_bytes(*key) as usize) {
                *place = counts.sum();
            }
        }
    }
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
