//! The per-CPU counters.

use super::bpf::io_error;
use crate::maps::MapsError;
use crate::tables::Tables;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use kmesh_lite_common::{BackendId, ServiceId};
use kmesh_lite_ebpf::Outcome;
use std::collections::BTreeMap;
use std::io;

/// Sums over all CPUs, since the table rows they belong to exist.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Connects that were sent somewhere.
    pub services: BTreeMap<ServiceId, u64>,
    /// Connects that were sent to it, or to its waypoint.
    pub backends: BTreeMap<BackendId, u64>,
}

/// The maps behind them.
pub struct CounterMaps {
    pub outcomes: PerCpuArray<MapData, u64>,
    pub services: PerCpuArray<MapData, u64>,
    pub backends: PerCpuArray<MapData, u64>,
}

impl CounterMaps {
    /// Reads the counters of everything in `tables`.
    pub fn read(&self, tables: &Tables) -> Result<Counters, MapsError> {
        let error = |source| MapsError {
            operation: "read",
            table: "counters",
            source,
        };
        let outcome = |outcome: &Outcome| Ok((*outcome, sum(&self.outcomes, *outcome as u32)?));
        let service = |id: &ServiceId| Ok((*id, sum(&self.services, id.index())?));
        let backend = |id: &BackendId| Ok((*id, sum(&self.backends, id.index())?));
        Ok(Counters {
            outcomes: Outcome::ALL
                .iter()
                .map(outcome)
                .collect::<io::Result<_>>()
                .map_err(error)?,
            services: tables
                .services
                .keys()
                .map(service)
                .collect::<io::Result<_>>()
                .map_err(error)?,
            backends: tables
                .backends
                .keys()
                .map(backend)
                .collect::<io::Result<_>>()
                .map_err(error)?,
        })
    }

    /// Carries counts over to the maps that replace these. Connects of the moment may be lost to
    /// the count.
    pub fn copy_to(&self, other: &mut Self, tables: &Tables) -> Result<(), MapsError> {
        let error = |source| MapsError {
            operation: "copy",
            table: "counters",
            source,
        };
        let services = tables.services.keys().map(|id| id.index());
        let backends = tables.backends.keys().map(|id| id.index());
        copy(
            &self.outcomes,
            &mut other.outcomes,
            0..Outcome::ALL.len() as u32,
        )
        .map_err(error)?;
        copy(&self.services, &mut other.services, services).map_err(error)?;
        copy(&self.backends, &mut other.backends, backends).map_err(error)
    }

    pub fn reset_service(&mut self, index: u32) -> io::Result<()> {
        reset(&mut self.services, index)
    }

    pub fn reset_backend(&mut self, index: u32) -> io::Result<()> {
        reset(&mut self.backends, index)
    }
}

fn sum(counters: &PerCpuArray<MapData, u64>, index: u32) -> io::Result<u64> {
    let values = counters.get(&index, 0).map_err(io_error)?;
    Ok(values.iter().sum())
}

fn reset(counters: &mut PerCpuArray<MapData, u64>, index: u32) -> io::Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zero = PerCpuValues::try_from(vec![0; cpus])?;
    counters.set(index, zero, 0).map_err(io_error)
}

fn copy(
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
