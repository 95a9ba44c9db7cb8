//! What the programs add up of connections, read when somebody asks.

use super::bpf::{Batch, io_error};
use super::connections::Gone;
use super::counters::{self, Counts};
use super::object::{LoadError, adopt};
use crate::health::Fates;
use aya::Pod;
use aya::maps::{IterableMap, MapData, MapError, PerCpuHashMap, PerCpuValues};
use kmesh_lite_common::{
    Address, ArrivalKey, Durations, Ending, EndpointId, ServiceId, Traffic, TrafficKey, WaypointId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// How many rows the maps may have. A row takes memory when it is needed.
pub const ROWS: u32 = 65_536;

/// Everything that was added up, of all CPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    pub sums: BTreeMap<TrafficKey, Traffic>,
    /// Histograms by service; that without an id is of what has none.
    pub durations: BTreeMap<Option<ServiceId>, Durations>,
    /// Connections that arrived where backends may be.
    pub arrivals: BTreeMap<ArrivalKey, u64>,
    /// What found no room: beginnings and endings of connections, and arrivals.
    pub uncounted: u64,
}

/// The maps that the programs add up in.
pub struct TrafficMaps {
    sums: PerCpuHashMap<MapData, TrafficKey, Traffic>,
    /// By the number of a service; 0 for none.
    durations: PerCpuHashMap<MapData, u32, Durations>,
    arrivals: PerCpuHashMap<MapData, ArrivalKey, u64>,
    uncounted: Counts,
}

impl TrafficMaps {
    /// By descriptors of the maps in this order: sums, histograms, arrivals, and the counter of what found no room.
    pub fn new(
        sums: BorrowedFd<'_>,
        durations: BorrowedFd<'_>,
        arrivals: BorrowedFd<'_>,
        uncounted: BorrowedFd<'_>,
    ) -> Result<Self, LoadError> {
        let typed = |name| {
            move |error: MapError| LoadError::Map {
                name,
                source: io_error(error),
            }
        };
        Ok(Self {
            sums: adopt("TRAFFIC", sums)?
                .try_into()
                .map_err(typed("TRAFFIC"))?,
            durations: adopt("DURATIONS", durations)?
                .try_into()
                .map_err(typed("DURATIONS"))?,
            arrivals: adopt("ARRIVALS", arrivals)?
                .try_into()
                .map_err(typed("ARRIVALS"))?,
            uncounted: adopt("UNCOUNTED", uncounted)?
                .try_into()
                .map_err(typed("UNCOUNTED"))?,
        })
    }

    /// Makes sums forget ids that may be handed out again. No connection adds to rows with these any more.
    pub fn forget(&mut self, gone: &Gone) -> io::Result<()> {
        let is_gone = |key: &TrafficKey| {
            key.service
                .is_some_and(|id| gone.services.contains(&number(id.index())))
                || key
                    .endpoint
                    .is_some_and(|id| gone.endpoints.contains(&number(id.index())))
                || key
                    .waypoint
                    .is_some_and(|id| gone.waypoints.contains(&number(id.index())))
        };
        let keys: Vec<TrafficKey> = self.sums.keys().filter_map(Result::ok).collect();
        for key in keys.iter().filter(|key| is_gone(key)) {
            if let Some(to) = folded(key, gone) {
                self.fold(key, &to)?;
            }
            absent_is_fine(self.sums.remove(key))?;
        }
        for service in &gone.services {
            absent_is_fine(self.durations.remove(service))?;
        }
        Ok(())
    }

    /// Adds rows of cgroups that are gone to one for each endpoint: every run of a unit has a cgroup of its own.
    /// `living` says which of some cgroups are there. A row of connections that are still open stays.
    pub fn fold_cgroups(
        &mut self,
        living: impl FnOnce(BTreeSet<u64>) -> BTreeSet<u64>,
    ) -> io::Result<()> {
        let keys: Vec<TrafficKey> = self.sums.keys().filter_map(Result::ok).collect();
        let keys: Vec<_> = keys.into_iter().filter(|key| key.cgroup != 0).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let living = living(keys.iter().map(|key| key.cgroup).collect());
        for key in keys.iter().filter(|key| !living.contains(&key.cgroup)) {
            let mut sum = Traffic::default();
            let values = self.sums.get(key, 0).map_err(io_error)?;
            values.iter().for_each(|value| sum.add(value));
            if sum.active() == 0 {
                let to = TrafficKey {
                    cgroup: 0,
                    folded: 1,
                    ..*key
                };
                self.fold(key, &to)?;
                absent_is_fine(self.sums.remove(key))?;
            }
        }
        Ok(())
    }

    /// Forgets arrivals at addresses where no backend may be any more.
    pub fn keep_arrivals(&mut self, may_serve: impl Fn(&Address) -> bool) -> io::Result<()> {
        let keys: Vec<ArrivalKey> = self.arrivals.keys().filter_map(Result::ok).collect();
        for key in keys.iter().filter(|key| !may_serve(&key.local)) {
            absent_is_fine(self.arrivals.remove(key))?;
        }
        Ok(())
    }

    /// Adds a row to another one, which only we add to.
    fn fold(&mut self, key: &TrafficKey, to: &TrafficKey) -> io::Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let mut sums = match self.sums.get(to, 0) {
            Ok(sums) => sums.to_vec(),
            Err(MapError::KeyNotFound) => vec![Traffic::default(); cpus],
            Err(error) => return Err(io_error(error)),
        };
        let more = self.sums.get(key, 0).map_err(io_error)?;
        for (sum, more) in sums.iter_mut().zip(more.iter()) {
            sum.add(more);
        }
        let sums = PerCpuValues::try_from(sums)?;
        self.sums.insert(to, sums, 0).map_err(io_error)
    }

    /// What became of connects to endpoints, without those through waypoints: their failures say nothing of endpoints.
    pub fn fates(&self) -> io::Result<BTreeMap<EndpointId, Fates>> {
        const BLAMED: [Ending; 4] = [
            Ending::Refused,
            Ending::TimedOut,
            Ending::Unreachable,
            Ending::Reset,
        ];
        let mut fates: BTreeMap<_, Fates> = BTreeMap::new();
        for (key, sums) in all(&self.sums, Traffic::add)? {
            let Some(endpoint) = key.endpoint.filter(|_| key.waypoint.is_none()) else {
                continue;
            };
            let of_endpoint = fates.entry(endpoint).or_default();
            of_endpoint.established += sums.established;
            let failed = BLAMED.iter().map(|ending| sums.failed[ending.0 as usize]);
            of_endpoint.failed += failed.sum::<u64>();
        }
        Ok(fates)
    }

    pub fn read(&self) -> io::Result<Accounts> {
        let service = |number: u32| ServiceId::from_index(number.wrapping_sub(1));
        // These first: what is open is what began less what has ended.
        let durations = all(&self.durations, Durations::add)?.into_iter();
        let durations: BTreeMap<_, _> = durations
            .map(|(number, times)| (service(number), times))
            .collect();
        let mut sums: BTreeMap<_, _> = all(&self.sums, Traffic::add)?.into_iter().collect();
        for (service, times) in durations
            .iter()
            .filter(|(_, it)| it.rest != Traffic::default())
        {
            let rest = TrafficKey {
                service: *service,
                folded: 1,
                ..TrafficKey::default()
            };
            sums.entry(rest).or_default().add(&times.rest);
        }
        Ok(Accounts {
            sums,
            durations,
            arrivals: all(&self.arrivals, |sum, more| *sum += more)?
                .into_iter()
                .collect(),
            uncounted: counters::sum(&self.uncounted, 0)?,
        })
    }
}

fn absent_is_fine(removed: Result<(), MapError>) -> io::Result<()> {
    match removed.map_err(io_error) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a row is added to when something of it is gone; `None` where nobody asks for it any more. Sums of
/// services and of clients stay whole.
fn folded(key: &TrafficKey, gone: &Gone) -> Option<TrafficKey> {
    if key
        .service
        .is_some_and(|id| gone.services.contains(&number(id.index())))
    {
        return None;
    }
    let waypoint = |id: &WaypointId| !gone.waypoints.contains(&number(id.index()));
    Some(TrafficKey {
        cgroup: key.cgroup,
        service: key.service,
        waypoint: key.waypoint.filter(waypoint),
        folded: 1,
        ..TrafficKey::default()
    })
}

/// The number of the row at `index`, as [`Gone`] has it.
fn number(index: u32) -> u32 {
    index + 1
}

/// Bytes of values that are read by one call, about.
const AT_ONCE: usize = 1 << 20;

/// Every row of a map, with what all CPUs have of it. One call for each row would take most of the time of an answer.
fn all<K: Pod, V: Pod + Default>(
    map: &PerCpuHashMap<MapData, K, V>,
    add: impl Fn(&mut V, &V),
) -> io::Result<Vec<(K, V)>> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let of_cpu = size_of::<V>().next_multiple_of(8);
    let mut room = (AT_ONCE / (of_cpu * cpus)).max(256);
    let mut found = Vec::new();
    let mut batch = Batch::new();
    loop {
        let mut keys = vec![0; room * size_of::<K>()];
        let mut values = vec![0; room * cpus * of_cpu];
        let fd = map.map().fd().as_fd();
        let count = match batch.read(fd, &mut keys, &mut values, room as u32) {
            Ok(0) => return Ok(found),
            Ok(count) => count as usize,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                room *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        let keys = keys.chunks_exact(size_of::<K>());
        let values = values.chunks_exact(cpus * of_cpu);
        for (key, values) in keys.zip(values).take(count) {
            let mut sum = V::default();
            for value in values.chunks_exact(of_cpu) {
                // SAFETY: as many bytes as it has, or more; plain data.
                add(&mut sum, &unsafe {
                    value.as_ptr().cast::<V>().read_unaligned()
                });
            }
            // SAFETY: the same.
            found.push((unsafe { key.as_ptr().cast::<K>().read_unaligned() }, sum));
        }
    }
}
