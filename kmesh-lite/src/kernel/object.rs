//! The programs and their maps, loaded.

use super::Runs;
use super::address_bits::AddressBits;
use super::bpf::{self, io_error};
use super::connections::{self, ConnectionTable, Gone};
use super::counters::Counts;
use super::fields::SOCKET_FIELDS;
use super::maps::{KernelMaps, MappedTable, Readers};
use super::moments::Moments;
use super::open::OpenTable;
use super::rows::Rows;
use super::sweep::Sweep;
use super::traffic::{self, TrafficMaps};
use crate::hooks::{HOOKS, Hook};
use crate::model::{Limits, Table};
use crate::tables::{Declared, each, for_each_table};
use aya::maps::{HashMap, Map, MapData, MapError, MapInfo, RingBuf, SockHash};
use aya::programs::{Program, ProgramError, ProgramInfo};
use aya::{Btf, Ebpf, EbpfLoader};
use kmesh_lite_common::{PLACES, SINK, Settings, SocketFields};
use kmesh_lite_ebpf::bits;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;

/// The object file that the build made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

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

/// The settings, whose label says what the other maps are.
pub const SETTINGS: &str = "SETTINGS";
const ENDPOINTS: &str = "ENDPOINTS";
const CALLERS: &str = "CALLERS";
const ADDRESS_BITS: &str = "ADDRESS_BITS";
const BACKEND_BITS: &str = "BACKEND_BITS";
const OUTCOMES: &str = "OUTCOMES";
const ENDPOINT_CONNECTS: &str = "ENDPOINT_CONNECTS";

/// The maps that the mesh is turned into.
pub static TABLES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let sized = sized_maps().into_iter().map(|(map, _)| map);
    [SETTINGS, CALLERS, OUTCOMES, ADDRESS_BITS, BACKEND_BITS]
        .into_iter()
        .chain(sized)
        .collect()
});

/// The maps whose size follows from the room of a table, with that table.
fn sized_maps() -> Vec<(&'static str, Table)> {
    let mut maps = vec![
        (ENDPOINTS, Table::Endpoints),
        (ENDPOINT_CONNECTS, Table::Endpoints),
    ];
    for_each_table!(T => {
        let of_table = [Some(T::MAP), T::KEYS, T::CONNECTS];
        maps.extend(of_table.into_iter().flatten().map(|map| (map, T::TABLE)));
    });
    maps
}

/// Bits are for so many rows at least, whatever room there is: 16 kB stay in the cache as well, and where few of the
/// bits are set, hardly any connect that is not ours costs more than a look at one.
const ROWS_OF_BITS: u32 = 1 << 15;

/// The program that looks at connections that go on.
const SWEEP: &str = "sweep";
/// What it iterates over.
const OPEN_FILES: &str = "task_file";

/// The program that sees what sockets with a pending header send.
const PUSH_HEADER: &str = "push_header";

/// Maps that outlive the tables: what sockets remember, by themselves and in the connection table,
/// which of them have a header pending, and what is told about them.
pub const SOCKETS: [&str; 15] = [
    ORIGINALS,
    PENDING,
    EVENTS,
    BUCKETS,
    CONNECTIONS,
    LIVES,
    TRAFFIC,
    DURATIONS,
    ARRIVALS,
    UNCOUNTED,
    TELLERS,
    MOMENTS,
    MOMENTS_LOST,
    ENDPOINT_OPEN,
    SERVICE_OPEN,
];
const ORIGINALS: &str = "ORIGINALS";
const PENDING: &str = "PENDING";
const EVENTS: &str = "EVENTS";
pub const BUCKETS: &str = "BUCKETS";
pub const CONNECTIONS: &str = "CONNECTIONS";
const LIVES: &str = "LIVES";
const TELLERS: &str = "TELLERS";
const MOMENTS: &str = "MOMENTS";
const MOMENTS_LOST: &str = "MOMENTS_LOST";
pub const TRAFFIC: &str = "TRAFFIC";
pub const DURATIONS: &str = "DURATIONS";
pub const ARRIVALS: &str = "ARRIVALS";
pub const UNCOUNTED: &str = "UNCOUNTED";
pub const ENDPOINT_OPEN: &str = "ENDPOINT_OPEN";
pub const SERVICE_OPEN: &str = "SERVICE_OPEN";

/// Maps by their names in the object.
pub type ByName = BTreeMap<&'static str, OwnedFd>;

/// Maps that are there already, and stay what they are under new programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reuse<'a> {
    pub tables: Option<&'a ByName>,
    pub sockets: Option<&'a ByName>,
}

impl<'a> Reuse<'a> {
    fn get(self, name: &str) -> Option<BorrowedFd<'a>> {
        let mut maps = [self.tables, self.sockets].into_iter().flatten();
        maps.find_map(|maps| maps.get(name)).map(AsFd::as_fd)
    }
}

/// What this kernel's programs can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Choose the error of a connect() that is refused.
    pub choose_errno: bool,
    /// Tell sockets of Multipath TCP.
    pub know_mptcp: bool,
    /// Keep connections in the connection table: otherwise each socket remembers its own.
    pub table_connections: bool,
    /// Read fields of sockets that no context shows.
    pub read_sockets: bool,
    /// Look at connections that go on.
    pub see_living: bool,
}

impl Abilities {
    /// The program in the object that serves a hook.
    fn program(self, hook: &'static str) -> &'static str {
        match hook {
            "connect4" if !self.table_connections => "connect4_plain",
            "connect6" if !self.table_connections => "connect6_plain",
            "connections" if !self.table_connections => "connections_plain",
            "released" if !self.table_connections => "released_plain",
            hook => hook,
        }
    }
}

/// LoadedObject programs with their maps.
pub struct Object {
    ebpf: Ebpf,
    pub maps: KernelMaps,
    pub abilities: Abilities,
    /// None where the kernel cannot look at connections that go on.
    pub sweep: Option<Sweep>,
    /// Descriptors of the maps behind `maps`.
    tables: ByName,
    sockets: ByName,
}

impl Object {
    /// Loads everything, with this room in tables that are not there yet. Open connections are counted of all that
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
        let (ebpf, maps, abilities) = undisturbed(|| load_what_works(room, limits, reuse))?;
        let mut object = Self::open(ebpf, maps, abilities)?;
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
        Some(there == self.program_id(PUSH_HEADER).ok())
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

    fn open(ebpf: Ebpf, mut all: Typed, abilities: Abilities) -> Result<Self, LoadError> {
        let tables = fds(&all, &TABLES)?;
        let sockets = fds(&all, &SOCKETS)?;
        let maps = kernel_maps(&mut all)?;
        Ok(Self {
            ebpf,
            maps,
            abilities,
            sweep: None,
            tables,
            sockets,
        })
    }

    /// The number of the program of a hook in the kernel.
    pub fn program_id(&self, name: &'static str) -> Result<u32, LoadError> {
        Ok(self.about(name)?.id())
    }

    /// How often the programs ran.
    pub fn runs(&self) -> Result<Vec<Runs>, LoadError> {
        let sweep = self.sweep.is_some().then_some(SWEEP);
        let names = HOOKS.iter().map(|hook| hook.name).chain(sweep);
        let runs = names.map(|name| {
            let about = self.about(name)?;
            Ok(Runs {
                program: name,
                count: about.run_count(),
                time: about.run_time(),
            })
        });
        runs.collect()
    }

    fn about(&self, name: &'static str) -> Result<ProgramInfo, LoadError> {
        let about = self.loaded(name)?.info();
        about.map_err(|source| LoadError::Program { name, source })
    }

    /// The program of a hook.
    pub fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        let fd = self
            .loaded(name)?
            .fd()
            .map_err(|source| LoadError::Program { name, source })?;
        Ok(fd.as_fd())
    }

    fn loaded(&self, name: &'static str) -> Result<&Program, LoadError> {
        let program = self.ebpf.program(self.abilities.program(name));
        program.ok_or(LoadError::Absent {
            kind: "program",
            name,
        })
    }
}

/// Typed maps, and mappings of them.
pub fn kernel_maps(all: &mut Typed) -> Result<KernelMaps, LoadError> {
    Ok(KernelMaps {
        settings: rows(all, SETTINGS)?,
        tables: each!(T => MappedTable::<T> {
            rows: rows(all, T::MAP)?,
            ids: T::KEYS.map(|map| hash(all, map)).transpose()?,
            connects: T::CONNECTS.map(|map| counters(all, map)).transpose()?,
        }),
        endpoints: rows(all, ENDPOINTS)?,
        address_bits: AddressBits::new(rows(all, ADDRESS_BITS)?),
        backend_bits: AddressBits::new(rows(all, BACKEND_BITS)?),
        callers: hash(all, CALLERS)?,
        outcomes: counters(all, OUTCOMES)?,
        endpoint_connects: counters(all, ENDPOINT_CONNECTS)?,
        readers: Readers::Gone,
        connections: None,
        open: None,
        traffic: None,
        gone: Gone::default(),
    })
}

type LoadedObject = (Ebpf, Typed, Abilities);

/// Loads with everything that the kernel can do. A helper that it does not have is EINVAL.
fn load_what_works(
    room: &Limits,
    limits: &Limits,
    reuse: Reuse<'_>,
) -> Result<LoadedObject, LoadError> {
    let lacks = |error: &LoadError| match error {
        LoadError::Program { source, .. } => errno(source) == Some(libc::EINVAL),
        _ => false,
    };
    let mut abilities = Abilities {
        choose_errno: true,
        know_mptcp: true,
        // Nothing tells of the end of a socket of the kernel's own, so these have to be told from others.
        table_connections: SOCKET_FIELDS.of_kernel.offset != 0,
        read_sockets: true,
        see_living: SOCKET_FIELDS.of_socket != 0,
    };
    // From what came last to the kernel to what came first.
    let without: [fn(&mut Abilities); 4] = [
        // Without CONFIG_MPTCP there are no such sockets; an older kernel closes them instead.
        |abilities| abilities.know_mptcp = false,
        // Before kernel 6.1 these hooks cannot choose the errno of connect().
        |abilities| abilities.choose_errno = false,
        // Before kernel 5.12 a slot cannot be taken.
        |abilities| abilities.table_connections = false,
        |abilities| abilities.read_sockets = false,
    ];
    for take_away in without {
        match load(room, limits, reuse, abilities) {
            Err(error) if lacks(&error) => log::debug!("without {abilities:?}: {error}"),
            loaded => return loaded.inspect(|(_, _, abilities)| warn(*abilities)),
        }
        take_away(&mut abilities);
    }
    load(room, limits, reuse, abilities).inspect(|(_, _, abilities)| warn(*abilities))
}

fn warn(abilities: Abilities) {
    if !abilities.choose_errno {
        log::warn!(
            "this kernel cannot choose the error of connect(): refused connects fail with EPERM"
        );
    }
    if !abilities.table_connections {
        log::warn!(
            "this kernel cannot have the connection table: each socket remembers its own connection, which takes longer, connections cannot be listed or limited, and `least-connections` picks at random"
        );
    }
    if !abilities.see_living {
        log::warn!(
            "this kernel does not show what connections are doing: bytes are counted when a connection ends"
        );
    }
    if !abilities.read_sockets {
        log::warn!(
            "this kernel does not show what a socket is set to: MSG_ZEROCOPY and kernel TLS cannot be told before a header"
        );
    }
}

fn load(
    room: &Limits,
    limits: &Limits,
    reuse: Reuse<'_>,
    mut abilities: Abilities,
) -> Result<LoadedObject, LoadError> {
    let choose_errno = u8::from(abilities.choose_errno);
    let know_mptcp = u8::from(abilities.know_mptcp);
    let fields = if abilities.read_sockets {
        *SOCKET_FIELDS
    } else {
        SocketFields::default()
    };
    let buckets = if abilities.table_connections {
        match reuse.get(BUCKETS) {
            Some(there) => bpf::map_rows(there).map_err(map_error(BUCKETS))?,
            None => connections::buckets(room),
        }
    } else {
        0
    };
    let bits = |map, table: Table| match reuse.get(map) {
        Some(there) => {
            let words = bpf::map_rows(there).map_err(map_error(map));
            words.map(|words| words * u64::BITS)
        }
        None => Ok(bits::count(table.rows(room).max(ROWS_OF_BITS))),
    };
    let address_bits = bits(ADDRESS_BITS, Table::Addresses)?;
    let backend_bits = bits(BACKEND_BITS, Table::Backends)?;
    let types = Btf::from_sys_fs().ok();
    let mut loader = EbpfLoader::new();
    loader
        .btf(types.as_ref())
        .override_global("ADDRESS_BIT_COUNT", &address_bits, true)
        .override_global("BACKEND_BIT_COUNT", &backend_bits, true)
        .override_global("SOCKET_FIELDS", &fields, true)
        .override_global("BUCKET_COUNT", &buckets, true)
        .override_global("CHOOSE_ERRNO", &choose_errno, true)
        .override_global("KNOW_MPTCP", &know_mptcp, true);
    let of_tables = sized_maps().into_iter();
    let of_tables = of_tables.map(|(name, table)| (name, table.rows(room)));
    let others = [
        (ADDRESS_BITS, address_bits / u64::BITS),
        (BACKEND_BITS, backend_bits / u64::BITS),
        (BUCKETS, buckets),
        (CONNECTIONS, buckets * PLACES),
        (LIVES, buckets * PLACES),
        (TRAFFIC, traffic::ROWS),
        (DURATIONS, traffic::ROWS),
        (ARRIVALS, traffic::ROWS),
        (ENDPOINT_OPEN, Table::Endpoints.rows(limits)),
        (SERVICE_OPEN, Table::Services.rows(limits)),
    ];
    for (name, rows) in of_tables.chain(others) {
        // A map that another one will replace can be small.
        let there = reuse.get(name).is_some();
        loader.map_max_entries(name, if there { 1 } else { rows.max(1) });
    }
    let mut ebpf = loader.load(OBJECT)?;
    let mut maps = BTreeMap::new();
    // Until programs are loaded, they refer to maps by descriptor numbers. aya can reuse a map only by
    // a path in a bpf file system, which a hardened service has no right to write to. So the old map's
    // descriptor takes the number of the new one.
    let mut replaced = Vec::new();
    for name in TABLES.iter().copied().chain(SOCKETS) {
        let made = ebpf.take_map(name).ok_or_else(|| absent_map(name))?;
        let map = match reuse.get(name) {
            None => made,
            Some(there) => {
                let map = adopt(name, there)?;
                let place = data(&made).ok_or_else(|| absent_map(name))?;
                if !alike(place, data(&map).ok_or_else(|| absent_map(name))?) {
                    return Err(LoadError::Misfit { name });
                }
                bpf::replace(place.fd().as_fd(), there).map_err(map_error(name))?;
                replaced.push(made);
                map
            }
        };
        maps.insert(name, map);
    }
    for Hook { name, .. } in &HOOKS {
        let program = ebpf
            .program_mut(abilities.program(name))
            .ok_or(LoadError::Absent {
                kind: "program",
                name,
            })?;
        let loaded = match program {
            Program::CgroupSock(program) => program.load(),
            Program::CgroupSockAddr(program) => program.load(),
            Program::SockOps(program) => program.load(),
            Program::SkMsg(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|source| LoadError::Program { name, source })?;
    }
    abilities.see_living &= abilities.table_connections && load_sweep(&mut ebpf, types.as_ref());
    Ok((ebpf, maps, abilities))
}

/// Whether the kernel takes the program that looks at connections that go on: one that does not still tells of
/// their ends.
fn load_sweep(ebpf: &mut Ebpf, types: Option<&Btf>) -> bool {
    let (Some(Program::Iter(program)), Some(types)) = (ebpf.program_mut(SWEEP), types) else {
        return false;
    };
    let loaded = program.load(OPEN_FILES, types);
    if let Err(error) = &loaded {
        log::warn!("the kernel refused program `{SWEEP}`: {error}");
    }
    loaded.is_ok()
}

/// Whether a map can take the place of another.
fn alike(made: &MapData, there: &MapData) -> bool {
    let (Ok(made), Ok(there)) = (made.info(), there.info()) else {
        return false;
    };
    let shape = |map: &MapInfo| {
        (
            map.map_type().ok(),
            map.key_size(),
            map.value_size(),
            map.map_flags(),
        )
    };
    shape(&made) == shape(&there)
}

/// A map by a descriptor of somebody's.
pub fn adopt(name: &'static str, fd: BorrowedFd<'_>) -> Result<Map, LoadError> {
    let fd = fd.try_clone_to_owned().map_err(map_error(name))?;
    MapData::from_fd(fd)
        .and_then(Map::from_map_data)
        .map_err(|error| map_error(name)(io_error(error)))
}

/// The data behind the kinds of map that we have.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::SkStorage(data)
        | Map::SockHash(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// Runs `load` with all signals blocked: while one is pending, the verifier gives up with EAGAIN. They
/// arrive afterwards, or at another thread.
fn undisturbed<T>(load: impl FnOnce() -> T) -> T {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let loaded = load();
    if let Ok(before) = before
        && let Err(error) = before.thread_set_mask()
    {
        log::error!("cannot unblock signals: {error}");
    }
    loaded
}

fn errno(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error.raw_os_error(),
        _ => None,
    }
}

fn absent_map(name: &'static str) -> LoadError {
    LoadError::Absent { kind: "map", name }
}

fn map_error(name: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    move |source| LoadError::Map { name, source }
}

pub type Typed = BTreeMap<&'static str, Map>;

fn take(maps: &mut Typed, name: &'static str) -> Result<Map, LoadError> {
    maps.remove(name).ok_or_else(|| absent_map(name))
}

fn fds(maps: &Typed, names: &[&'static str]) -> Result<ByName, LoadError> {
    let fd = |name: &&'static str| {
        let data = maps.get(name).and_then(data);
        let fd = data.ok_or_else(|| absent_map(name))?.fd().as_fd();
        Ok((*name, fd.try_clone_to_owned().map_err(map_error(name))?))
    };
    names.iter().map(fd).collect()
}

fn rows<T: Copy>(maps: &mut Typed, name: &'static str) -> Result<Rows<T>, LoadError> {
    match take(maps, name)? {
        Map::Array(map) => {
            let rows = map
                .info()
                .map_err(|error| map_error(name)(io_error(error)))?;
            Rows::map(map.fd().as_fd(), rows.max_entries()).map_err(map_error(name))
        }
        _ => Err(LoadError::Absent {
            kind: "array",
            name,
        }),
    }
}

fn hash<K: aya::Pod, V: aya::Pod>(
    maps: &mut Typed,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, LoadError> {
    let map = take(maps, name)?;
    HashMap::try_from(map).map_err(|error: MapError| map_error(name)(io_error(error)))
}

fn counters(maps: &mut Typed, name: &'static str) -> Result<Counts, LoadError> {
    let map = take(maps, name)?;
    Counts::try_from(map).map_err(|error: MapError| map_error(name)(io_error(error)))
}
