//! The programs and their maps, loaded.
//!
//! In: room, settings, and maps of before. Out: an [`Object`], whose programs links are made to and whose maps
//! plans are written to.

mod abilities;
mod by_name;
mod load;
mod names;
#[cfg(test)]
mod stack;

pub use abilities::Abilities;
pub use by_name::{ByName, Typed, adopt, client_table, kernel_maps};
pub use load::Reuse;
pub use names::{
    ARRIVALS, BUCKETS, CLIENTS, CONNECTIONS, DURATIONS, ENDPOINT_OPEN, FLOWS, SERVICE_OPEN,
    SETTINGS, SOCKETS, TABLES, TRAFFIC, UNCOUNTED,
};

use super::Runs;
use super::bpf::{self, io_error};
use super::connections::ConnectionTable;
use super::counters::Counts;
use super::maps::{KernelMaps, Readers};
use super::moments::Moments;
use super::open::OpenTable;
use super::sweep::Sweep;
use super::traffic::TrafficMaps;
use crate::hooks::{HOOKS, Hook};
use crate::model::Limits;
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, RingBuf, SockHash};
use aya::programs::{Program, ProgramError, ProgramInfo};
use by_name::{absent_map, fds, map_error};
use kmesh_lite_common::{SINK, Settings};
use load::{LoadedObject, OBJECT, load_program, load_what_works, undisturbed};
use names::{EVENTS, MOMENTS, MOMENTS_LOST, PENDING};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "this kmesh-lite was built without the eBPF programs (KMESH_LITE_EBPF=skip): it can check files, not run"
    )]
    Skipped,
    #[error("cannot load the eBPF object; kernel 5.10 or newer with BTF is needed")]
    Object(#[from] aya::EbpfError),
    #[error("the kernel refused program `{name}`; `kmesh-lite doctor` says what it lacks")]
    Program {
        name: &'static str,
        #[source]
        source: ProgramError,
    },
    #[error("the eBPF object has no {kind} `{name}`, which is a defect of kmesh-lite")]
    Absent {
        kind: &'static str,
        name: &'static str,
    },
    #[error("cannot use map `{name}`")]
    Map {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot attach program `{name}` to the sockets whose header is pending")]
    AttachToSockets {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("map `{name}` is not what this version makes, and cannot be taken over")]
    Misfit { name: &'static str },
}

/// The program that looks at connections that go on.
const SWEEP: &str = "sweep";

/// The program that sees what sockets with a pending header send.
const PUSH_HEADER: &str = "push_header";

/// Loaded programs with their maps. Programs that few meshes need are loaded by [`Object::provide`].
pub struct Object {
    ebpf: Ebpf,
    /// Maps as programs know them that are not loaded yet.
    _places: Vec<Map>,
    pub maps: KernelMaps,
    pub abilities: Abilities,
    /// None where the kernel cannot look at connections that go on.
    pub sweep: Option<Sweep>,
    /// Descriptors of the maps behind `maps`.
    tables: ByName,
    sockets: ByName,
}

impl Object {
    /// Loads what every mesh needs, with this room in tables that are not there yet. Open connections are counted of all that
    /// there may be within `limits`.
    pub fn load(
        room: &Limits,
        limits: &Limits,
        settings: Settings,
        reuse: Reuse<'_>,
    ) -> Result<Self, LoadError> {
        if OBJECT.is_empty() {
            return Err(LoadError::Skipped);
        }
        let loaded = undisturbed(|| load_what_works(room, limits, reuse))?;
        let mut object = Self::open(loaded)?;
        let abilities = object.abilities;
        if abilities.table_connections {
            let (buckets, rows) = (object.socket_map(BUCKETS)?, object.socket_map(CONNECTIONS)?);
            let table = ConnectionTable::new(buckets, rows).map_err(map_error(CONNECTIONS))?;
            object.maps.connections = Some(table);
            let (endpoints, services) = (
                object.socket_map(ENDPOINT_OPEN)?,
                object.socket_map(SERVICE_OPEN)?,
            );
            let open = OpenTable::new(endpoints, services).map_err(map_error(ENDPOINT_OPEN))?;
            object.maps.open = Some(open);
        }
        object.maps.flows = bpf::map_rows(object.socket_map(FLOWS)?).map_err(map_error(FLOWS))?;
        object.maps.clients = Some(client_table(object.socket_map(CLIENTS)?)?);
        object.maps.traffic = Some(TrafficMaps::new(
            object.socket_map(TRAFFIC)?,
            object.socket_map(DURATIONS)?,
            object.socket_map(ARRIVALS)?,
            object.socket_map(UNCOUNTED)?,
        )?);
        if abilities.see_living {
            let sweep = Sweep::new(object.program(SWEEP)?);
            let sweep = sweep.inspect_err(|error| {
                log::warn!("connections are counted at their end only: {error}");
            });
            object.sweep = sweep.ok();
        }
        object.name_tables()?;
        object.push_headers()?;
        if reuse.tables.is_some() {
            // The process before may have ended in the middle of a plan.
            object.maps.readers = Readers::MayHoldRows;
        } else {
            let set = object.maps.settings.set(0, settings);
            set.map_err(map_error(SETTINGS))?;
        }
        Ok(object)
    }

    /// Makes all tables ones of a program, and what connections are added up in. Whoever finds the programs finds
    /// them: no program reads the table of services, because what a connect needs of a service stands in the
    /// frontends, and the program that adds up reads no table.
    fn name_tables(&self) -> Result<(), LoadError> {
        let program = self.program("connect4")?;
        let sums = [TRAFFIC, DURATIONS, ARRIVALS, UNCOUNTED];
        let sums = self.sockets.iter().filter(|(name, _)| sums.contains(name));
        self.tables.iter().chain(sums).try_for_each(|(name, map)| {
            bpf::bind_map(program, map.as_fd()).map_err(map_error(name))
        })
    }

    /// The tables, to be kept or used again.
    pub fn tables(&self) -> &ByName {
        &self.tables
    }

    /// The maps about sockets, to be kept or used again.
    pub fn sockets(&self) -> &ByName {
        &self.sockets
    }

    fn socket_map(&self, name: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        let map = self.sockets.get(name).ok_or_else(|| absent_map(name))?;
        Ok(map.as_fd())
    }

    /// Attaches the program that sees what sockets with a pending header send.
    pub fn push_headers(&self) -> Result<(), LoadError> {
        let program = self.program(PUSH_HEADER)?;
        let attached = bpf::attach_to_map(program, self.socket_map(PENDING)?);
        attached.map_err(|source| LoadError::AttachToSockets {
            name: PUSH_HEADER,
            source,
        })
    }

    /// Whether that program is in its place; `None` where the kernel does not tell.
    pub fn pushes_headers(&self) -> Option<bool> {
        let there = bpf::program_of_map(self.socket_map(PENDING).ok()?).ok()?;
        Some(there == self.program_id(PUSH_HEADER).ok().flatten())
    }

    /// Makes `socket` the one that swallows bytes nobody is to see.
    pub fn set_sink(&self, socket: BorrowedFd<'_>) -> Result<(), LoadError> {
        let inserted = self.pending()?.insert(SINK, socket, 0);
        inserted.map_err(|error| map_error(PENDING)(io_error(error)))
    }

    /// Whether no socket has a header pending.
    pub fn has_no_pending_header(&self) -> bool {
        let is_sink = |key| matches!(key, Ok(SINK));
        self.pending()
            .is_ok_and(|pending| pending.keys().all(is_sink))
    }

    fn pending(&self) -> Result<SockHash<MapData, u64>, LoadError> {
        let map = adopt(PENDING, self.socket_map(PENDING)?)?;
        SockHash::try_from(map).map_err(|error| map_error(PENDING)(io_error(error)))
    }

    /// What the programs tell. There is one reader.
    pub fn events(&self) -> Result<RingBuf<MapData>, LoadError> {
        let map = adopt(EVENTS, self.socket_map(EVENTS)?)?;
        RingBuf::try_from(map).map_err(|error| map_error(EVENTS)(io_error(error)))
    }

    /// What the programs tell of connections. There is one reader.
    pub fn moments(&self) -> Result<Moments, LoadError> {
        let map = adopt(MOMENTS, self.socket_map(MOMENTS)?)?;
        let buffer = RingBuf::try_from(map).map_err(|error| map_error(MOMENTS)(io_error(error)))?;
        Ok(Moments::new(buffer, self.moments_lost()?))
    }

    /// Counts what the buffer of moments had no room for.
    pub fn moments_lost(&self) -> Result<Counts, LoadError> {
        let map = adopt(MOMENTS_LOST, self.socket_map(MOMENTS_LOST)?)?;
        Counts::try_from(map).map_err(|error: MapError| map_error(MOMENTS_LOST)(io_error(error)))
    }

    fn open(loaded: LoadedObject) -> Result<Self, LoadError> {
        let LoadedObject {
            ebpf,
            maps: mut all,
            places,
            abilities,
        } = loaded;
        let tables = fds(&all, &TABLES)?;
        let sockets = fds(&all, &SOCKETS)?;
        let maps = kernel_maps(&mut all)?;
        Ok(Self {
            ebpf,
            _places: places,
            maps,
            abilities,
            sweep: None,
            tables,
            sockets,
        })
    }

    /// Loads the programs of these hooks, as far as they are not loaded.
    pub fn provide(
        &mut self,
        hooks: impl IntoIterator<Item = &'static Hook>,
    ) -> Result<(), LoadError> {
        let (ebpf, abilities) = (&mut self.ebpf, self.abilities);
        let mut hooks = hooks.into_iter();
        undisturbed(|| hooks.try_for_each(|hook| load_program(ebpf, abilities, hook)))
    }

    /// The number of the program of a hook in the kernel, if it is loaded.
    pub fn program_id(&self, name: &'static str) -> Result<Option<u32>, LoadError> {
        let about = self.is_loaded(name)?.then(|| self.about(name));
        Ok(about.transpose()?.map(|about| about.id()))
    }

    /// How often the programs ran that are loaded.
    pub fn runs(&self) -> Result<Vec<Runs>, LoadError> {
        let sweep = self.sweep.is_some().then_some(SWEEP);
        let names = HOOKS.iter().map(|hook| hook.name).chain(sweep);
        let mut runs = Vec::new();
        for name in names {
            if !self.is_loaded(name)? {
                continue;
            }
            let about = self.about(name)?;
            runs.push(Runs {
                program: name,
                count: about.run_count(),
                time: about.run_time(),
            });
        }
        Ok(runs)
    }

    fn about(&self, name: &'static str) -> Result<ProgramInfo, LoadError> {
        let about = self.found(name)?.info();
        about.map_err(|source| LoadError::Program { name, source })
    }

    /// The program of a hook.
    pub fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        let fd = self
            .found(name)?
            .fd()
            .map_err(|source| LoadError::Program { name, source })?;
        Ok(fd.as_fd())
    }

    fn is_loaded(&self, name: &'static str) -> Result<bool, LoadError> {
        Ok(self.found(name)?.fd().is_ok())
    }

    fn found(&self, name: &'static str) -> Result<&Program, LoadError> {
        let program = self.ebpf.program(self.abilities.program(name));
        program.ok_or(LoadError::Absent {
            kind: "program",
            name,
        })
    }
}
