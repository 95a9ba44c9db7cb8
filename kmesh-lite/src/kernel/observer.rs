//! A daemon's tables without the daemon: found among everything that the kernel has loaded.

use super::Snapshot;
use super::bpf::{self, LinkAbout, io_error};
use super::clients::ClientTable;
use super::connections::{ConnectionTable, Living};
use super::object::{
    ARRIVALS, BUCKETS, CLIENTS, CONNECTIONS, DURATIONS, ENDPOINT_OPEN, LoadError, SERVICE_OPEN,
    SETTINGS, SOCKETS, TABLES, TRAFFIC, Typed, UNCOUNTED, adopt, client_table, kernel_maps,
};
use super::open::OpenTable;
use super::store::Group;
use super::traffic::{Accounts, TrafficMaps};
use crate::hooks::of_cgroups;
use crate::host::{CgroupError, Cgroups};
use crate::maps::{Maps, MapsError};
use crate::tables::{Actual, Remembered};
use aya::maps::{MapError, MapFd, MapInfo, loaded_maps};
use aya::programs::{ProgramError, loaded_programs};
use kmesh_lite_common::{ClientKey, Label};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The tables in charge, to be read. Nothing is written.
pub struct Observer {
    maps: super::maps::KernelMaps,
    attached: Vec<PathBuf>,
}

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("cannot look at what the kernel has loaded; be root")]
    List(#[source] io::Error),
    #[error(
        "the kernel holds tables of layout {there}, and this kmesh-lite reads layout {ours}: use the version that made them"
    )]
    Layout { there: u32, ours: u32 },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Map(#[from] LoadError),
}

/// Characters of a map's name that the kernel keeps (BPF_OBJ_NAME_LEN with its zero).
const NAME_LENGTH: usize = 15;

impl Observer {
    /// The tables of the daemon on a control socket, given by [`super::instance`]. None if there are
    /// none.
    pub fn find(instance: u64) -> Result<Option<Self>, ObserveError> {
        let mut labels = labels()?;
        labels.retain(|_, label| label.instance == instance);
        if labels.is_empty() {
            return Ok(None);
        }
        // There are two sets of tables while larger ones take over, or after a daemon ended in the
        // middle of that. The set on which links run counts.
        let programs = programs(labels.keys())?;
        let mut in_charge: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        let links = bpf::links().map_err(ObserveError::List)?;
        for link in links.into_iter().filter(is_of_cgroup) {
            if let Some(program) = programs.get(&link.program) {
                let cgroups = in_charge.entry(program.settings).or_default();
                cgroups.insert(link.target);
            }
        }
        let Some((settings, cgroups)) = in_charge
            .into_iter()
            .max_by_key(|(id, cgroups)| (cgroups.len(), *id))
        else {
            return Ok(None);
        };
        let (there, ours) = (labels[&settings].layout, Group::Tables.version());
        if there != ours {
            return Err(ObserveError::Layout { there, ours });
        }
        let own = programs
            .values()
            .filter(|program| program.settings == settings);
        let ids: BTreeSet<_> = own.flat_map(|program| &program.maps).copied().collect();
        let paths = Cgroups::find()?.paths(cgroups.into_iter());
        let mut maps = kernel_maps(&mut typed(&ids)?)?;
        maps.connections = connections(&ids)?;
        maps.open = open_table(&ids)?;
        maps.clients = clients(&ids)?;
        maps.traffic = traffic(&ids)?;
        Ok(Some(Self {
            maps,
            attached: paths.into_values().collect(),
        }))
    }

    /// Reads all tables.
    pub fn read(&mut self) -> Result<Actual, MapsError> {
        self.maps.read()
    }

    /// Reads all tables and their counters.
    pub fn snapshot(&mut self) -> Result<Snapshot, MapsError> {
        let Actual {
            generation, tables, ..
        } = self.read()?;
        Ok(Snapshot {
            generation,
            counters: self.maps.counters(&tables)?,
            room: self.maps.room(),
            attached: self.attached.clone(),
            connections: self.connections()?,
            accounts: self.accounts()?,
            runs: Vec::new(),
            tables,
        })
    }

    /// The connections in the connection table.
    pub fn connections(&self) -> Result<Vec<Living>, MapsError> {
        self.maps.living().map_err(|source| MapsError {
            operation: "read",
            table: "connections",
            source,
        })
    }

    /// What is remembered of these clients.
    pub fn remembered(&self, keys: &[ClientKey]) -> Result<Remembered, MapsError> {
        self.maps.remembered(keys).map_err(|source| MapsError {
            operation: "read",
            table: "clients",
            source,
        })
    }

    /// What became of the connections that were accounted.
    pub fn accounts(&self) -> Result<Accounts, MapsError> {
        self.maps.accounts().map_err(|source| MapsError {
            operation: "read",
            table: "traffic",
            source,
        })
    }

    /// Cgroups that are attached to.
    pub fn attached(&self) -> &[PathBuf] {
        &self.attached
    }
}

fn is_of_cgroup(link: &LinkAbout) -> bool {
    let mut hooks = of_cgroups();
    hooks.any(|hook| hook.attach_type == link.attach_type)
}

/// What settings tables say that they are, by the id of the map.
fn labels() -> Result<BTreeMap<u32, Label>, ObserveError> {
    let mut labels = BTreeMap::new();
    for map in loaded_maps() {
        let Some(map) = there(map)? else { continue };
        if map.name() != SETTINGS.as_bytes() || map.value_size() < size_of::<Label>() as u32 {
            continue;
        }
        let Some(fd) = there(map.fd())? else { continue };
        let bytes = bpf::first_element(fd.as_fd(), map.value_size()).map_err(ObserveError::List)?;
        // SAFETY: as many bytes as it has, and more; every bit pattern is one.
        let label = unsafe { bytes.as_ptr().cast::<Label>().read_unaligned() };
        if label.magic == Label::MAGIC {
            labels.insert(map.id(), label);
        }
    }
    Ok(labels)
}

/// The daemon that a program of kmesh-lite is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Instance(u64),
    /// Some daemon of an earlier version, whose sockets only this program understands.
    Earlier,
}

/// Programs of kmesh-lite, whichever daemon's, by id.
pub fn owners() -> Result<BTreeMap<u32, Owner>, ObserveError> {
    let labels = labels()?;
    let programs = all_programs()?;
    // Some are about sockets only, and share what those remember with programs that have tables.
    let mut maps: BTreeMap<u32, u64> = BTreeMap::new();
    for used in programs.values() {
        if let Some(label) = used.iter().find_map(|map| labels.get(map)) {
            maps.extend(used.iter().map(|map| (*map, label.instance)));
        }
    }
    let earlier = socket_maps()?;
    let owner = |used: &Vec<u32>| match used.iter().find_map(|map| maps.get(map)) {
        Some(instance) => Some(Owner::Instance(*instance)),
        None if used.iter().any(|map| earlier.contains(map)) => Some(Owner::Earlier),
        None => None,
    };
    Ok(programs
        .iter()
        .filter_map(|(id, used)| Some((*id, owner(used)?)))
        .collect())
}

/// Ids of all maps that are called like ours about sockets.
fn socket_maps() -> Result<BTreeSet<u32>, ObserveError> {
    let mut found = BTreeSet::new();
    for map in loaded_maps() {
        let Some(map) = there(map)? else { continue };
        if is_called(&SOCKETS, map.name()) {
            found.insert(map.id());
        }
    }
    Ok(found)
}

/// Whether the kernel has this name for one of these maps.
fn is_called(maps: &[&str], name: &[u8]) -> bool {
    let mut names = maps.iter();
    names.any(|known| known.as_bytes()[..known.len().min(NAME_LENGTH)] == *name)
}

struct Program {
    /// Id of its settings table.
    settings: u32,
    maps: Vec<u32>,
}

/// Programs on one of these settings tables, by id.
fn programs<'a>(
    settings: impl Iterator<Item = &'a u32> + Clone,
) -> Result<BTreeMap<u32, Program>, ObserveError> {
    let mut programs = BTreeMap::new();
    for (id, maps) in all_programs()? {
        if let Some(settings) = settings.clone().find(|id| maps.contains(id)) {
            let settings = *settings;
            programs.insert(id, Program { settings, maps });
        }
    }
    Ok(programs)
}

/// Ids of the maps of every program, by its own.
fn all_programs() -> Result<BTreeMap<u32, Vec<u32>>, ObserveError> {
    let mut programs = BTreeMap::new();
    for program in loaded_programs() {
        let found = program.and_then(|program| Ok((program.id(), program.map_ids()?)));
        match found {
            Ok((id, maps)) => programs.insert(id, maps.unwrap_or_default()),
            Err(ProgramError::SyscallError(call)) if gone(&call.io_error) => continue,
            Err(error) => return Err(ObserveError::List(io::Error::other(error))),
        };
    }
    Ok(programs)
}

/// The connection table, where the programs have one.
fn connections(ids: &BTreeSet<u32>) -> Result<Option<ConnectionTable>, ObserveError> {
    let (Some(buckets), Some(rows)) = (find(ids, BUCKETS)?, find(ids, CONNECTIONS)?) else {
        return Ok(None);
    };
    let table = ConnectionTable::new(buckets.as_fd(), rows.as_fd());
    table.map(Some).map_err(ObserveError::List)
}

/// The maps of open connections, where the programs count them.
fn open_table(ids: &BTreeSet<u32>) -> Result<Option<OpenTable>, ObserveError> {
    let (Some(endpoints), Some(services)) = (find(ids, ENDPOINT_OPEN)?, find(ids, SERVICE_OPEN)?)
    else {
        return Ok(None);
    };
    let table = OpenTable::new(endpoints.as_fd(), services.as_fd());
    table.map(Some).map_err(ObserveError::List)
}

/// What is remembered of clients.
fn clients(ids: &BTreeSet<u32>) -> Result<Option<ClientTable>, ObserveError> {
    let map = find(ids, CLIENTS)?;
    Ok(map.map(|map| client_table(map.as_fd())).transpose()?)
}

/// The maps that connections are added up in.
fn traffic(ids: &BTreeSet<u32>) -> Result<Option<TrafficMaps>, ObserveError> {
    let (sums, durations) = (find(ids, TRAFFIC)?, find(ids, DURATIONS)?);
    let (arrivals, uncounted) = (find(ids, ARRIVALS)?, find(ids, UNCOUNTED)?);
    let (Some(sums), Some(durations), Some(arrivals), Some(uncounted)) =
        (sums, durations, arrivals, uncounted)
    else {
        return Ok(None);
    };
    let maps = TrafficMaps::new(
        sums.as_fd(),
        durations.as_fd(),
        arrivals.as_fd(),
        uncounted.as_fd(),
    );
    Ok(Some(maps?))
}

/// A map by the name that it has in the object.
fn find(ids: &BTreeSet<u32>, name: &'static str) -> Result<Option<MapFd>, ObserveError> {
    for id in ids {
        if let Some(map) = there(MapInfo::from_id(*id))?
            && is_called(&[name], map.name())
        {
            return there(map.fd());
        }
    }
    Ok(None)
}

/// Maps under the names that they have in the object.
fn typed(ids: &BTreeSet<u32>) -> Result<Typed, ObserveError> {
    let mut typed = Typed::new();
    for id in ids {
        let Some(map) = there(MapInfo::from_id(*id))? else {
            continue;
        };
        let known = TABLES.iter().find(|known| is_called(&[*known], map.name()));
        if let (Some(known), Some(fd)) = (known, there(map.fd())?) {
            typed.insert(known, adopt(known, fd.as_fd())?);
        }
    }
    Ok(typed)
}

/// An object that went away meanwhile counts as absent; any other failure is an error.
fn there<T>(found: Result<T, MapError>) -> Result<Option<T>, ObserveError> {
    match found.map_err(io_error) {
        Ok(found) => Ok(Some(found)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(ObserveError::List(error)),
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
