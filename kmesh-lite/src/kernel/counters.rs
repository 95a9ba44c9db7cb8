//! The per-CPU counters.

use super::bpf::io_error;
use super::maps::{KernelMaps, error};
use crate::maps::MapsError;
use crate::tables::{Counters, Declared, Tables, each, for_each_table};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use kmesh_lite_ebpf::Outcome;
use std::io;

const COUNTERS: &str = "counters";

/// Reads the counters of everything in `tables`.
pub fn read(maps: &KernelMaps, tables: &Tables) -> Result<Counters, MapsError> {
    let outcome = |outcome: &Outcome| Ok((*outcome, sum(&maps.outcomes, *outcome as u32)?));
    let outcomes = Outcome::ALL.iter().map(outcome);
    Ok(Counters {
        outcomes: outcomes
            .collect::<io::Result<_>>()
            .map_err(error("read", COUNTERS))?,
        connects: each!(T => {
            let ids = T::part(&tables.rows).keys();
            let sums = T::part(&maps.tables).connects.iter().flat_map(|connects| {
                ids.clone().map(|id| Ok((*id, sum(connects, T::index(*id))?)))
            });
            sums.collect::<io::Result<_>>()
                .map_err(error("read", COUNTERS))?
        }),
    })
}

/// Carries counts over to the maps that replace these. Connects of the moment may be lost to the
/// count.
pub fn copy(from: &KernelMaps, to: &mut KernelMaps, tables: &Tables) -> Result<(), MapsError> {
    let outcomes = 0..Outcome::ALL.len() as u32;
    copy_some(&from.outcomes, &mut to.outcomes, outcomes).map_err(error("copy", COUNTERS))?;
    for_each_table!(T => {
        let from = &T::part(&from.tables).connects;
        let to = &mut T::part_mut(&mut to.tables).connects;
        if let (Some(from), Some(to)) = (from, to) {
            let ids = T::part(&tables.rows).keys().map(|id| T::index(*id));
            copy_some(from, to, ids).map_err(error("copy", COUNTERS))?;
        }
    });
    Ok(())
}

fn sum(counters: &PerCpuArray<MapData, u64>, index: u32) -> io::Result<u64> {
    let values = counters.get(&index, 0).map_err(io_error)?;
    Ok(values.iter().sum())
}

pub fn reset(counters: &mut PerCpuArray<MapData, u64>, index: u32) -> io::Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zero = PerCpuValues::try_from(vec![0; cpus])?;
    counters.set(index, zero, 0).map_err(io_error)
}

fn copy_some(
    from: &PerCpuArray<MapData, u64>,
    to: &mut PerCpuArray<MapData, u64>,
    indexes: impl Iterator<Item = u32>,
) -> io::Result<()> {
    // A row that is new has an index that the old map may not have.
    for index in indexes.filter(|index| *index < from.len()) {
        let values = from.get(&index, 0).map_err(io_error)?;
        if values.iter().any(|value| *value > 0) {
            to.set(index, values, 0).map_err(io_error)?;
        }
    }
    Ok(())
}
