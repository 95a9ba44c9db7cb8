//! The per-CPU counters.

use super::bpf::io_error;
use super::maps::{KernelMaps, error};
use crate::maps::MapsError;
use crate::tables::{Connects, Counters, Declared, Each, ForEach, Make, Tables, for_each};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use kmesh_lite_ebpf::Outcome;
use std::collections::BTreeMap;
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
        connects: Each::make(&mut Sums { maps, tables })?,
    })
}

struct Sums<'a> {
    maps: &'a KernelMaps,
    tables: &'a Tables,
}

impl Make<Connects> for Sums<'_> {
    type Error = MapsError;

    fn part<T: Declared>(&mut self) -> Result<BTreeMap<T::Id, u64>, MapsError> {
        let Some(connects) = &T::part(&self.maps.tables).connects else {
            return Ok(BTreeMap::new());
        };
        let ids = T::part(&self.tables.rows).keys();
        let sums = ids.map(|id| Ok((*id, sum(connects, T::index(*id))?)));
        sums.collect::<io::Result<_>>()
            .map_err(error("read", COUNTERS))
    }
}

/// Carries counts over to the maps that replace these. Connects of the moment may be lost to the
/// count.
pub fn copy(from: &KernelMaps, to: &mut KernelMaps, tables: &Tables) -> Result<(), MapsError> {
    let outcomes = 0..Outcome::ALL.len() as u32;
    let mut copied = Copied {
        done: copy_some(&from.outcomes, &mut to.outcomes, outcomes),
        from,
        to,
        tables,
    };
    for_each(&mut copied);
    copied.done.map_err(error("copy", COUNTERS))
}

struct Copied<'a> {
    from: &'a KernelMaps,
    to: &'a mut KernelMaps,
    tables: &'a Tables,
    done: io::Result<()>,
}

impl ForEach for Copied<'_> {
    fn table<T: Declared>(&mut self) {
        let from = &T::part(&self.from.tables).connects;
        let to = &mut T::part_mut(&mut self.to.tables).connects;
        let ids = T::part(&self.tables.rows).keys();
        if let (Some(from), Some(to), Ok(())) = (from, to, &self.done) {
            self.done = copy_some(from, to, ids.map(|id| T::index(*id)));
        }
    }
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
