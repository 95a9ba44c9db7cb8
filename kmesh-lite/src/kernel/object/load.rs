//! The object on its way into the kernel.
//!
//! In: the room of the tables, and maps that are there already. Out: programs that the kernel took, the maps
//! that they use, and what had to be left out for that.

use super::by_name::{ByName, Typed, absent_map, adopt, data, map_error};
use super::names::{
    ADDRESS_BITS, ARRIVALS, ASKED, BACKEND_BITS, BUCKETS, CLIENTS, CONNECTIONS, DURATIONS,
    ENDPOINT_OPEN, FLOWS, LIVES, SERVICE_OPEN, SOCKETS, TABLES, TRAFFIC, sized_maps,
};
use super::{Abilities, LoadError, SWEEP};
use crate::hooks::{HOOKS, Hook};
use crate::host::monotonic;
use crate::kernel::fields::SOCKET_FIELDS;
use crate::kernel::{bpf, connections, traffic};
use crate::model::{Limits, Table};
use aya::maps::{Map, MapData, MapInfo};
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};
use kmesh_lite_common::{PLACES, SocketFields};
use kmesh_lite_ebpf::bits;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

/// The object file that the build made.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// Bits are for so many rows at least, whatever room there is: 16 kB stay in the cache as well, and where few of the
/// bits are set, hardly any connect that is not ours costs more than a look at one.
const ROWS_OF_BITS: u32 = 1 << 15;

/// Clients that something is remembered of, at once: 2 MB.
const ROWS_OF_CLIENTS: u32 = 1 << 14;

/// What it iterates over.
const OPEN_FILES: &str = "task_file";

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

/// What was loaded.
pub struct LoadedObject {
    pub ebpf: Ebpf,
    pub maps: Typed,
    /// The descriptors by which programs that are not loaded yet know their maps.
    pub places: Vec<Map>,
    pub abilities: Abilities,
}

/// Loads with everything that the kernel can do. A helper that it does not have is EINVAL.
pub fn load_what_works(
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
            loaded => return loaded.inspect(|loaded| loaded.abilities.warn()),
        }
        take_away(&mut abilities);
    }
    load(room, limits, reuse, abilities).inspect(|loaded| loaded.abilities.warn())
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
    // Nothing is loaded twice in a nanosecond.
    let epoch = monotonic();
    let types = Btf::from_sys_fs().ok();
    let mut loader = EbpfLoader::new();
    loader
        .btf(types.as_ref())
        .override_global("ADDRESS_BIT_COUNT", &address_bits, true)
        .override_global("BACKEND_BIT_COUNT", &backend_bits, true)
        .override_global("SOCKET_FIELDS", &fields, true)
        .override_global("BUCKET_COUNT", &buckets, true)
        .override_global("EPOCH", &epoch, true)
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
        (CLIENTS, ROWS_OF_CLIENTS),
        (FLOWS, room.flows),
        (ASKED, room.flows),
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
    // descriptor takes the number of the new one. These numbers stay taken for as long as some program may
    // be loaded by them.
    let mut places = Vec::new();
    for name in TABLES.iter().copied().chain(SOCKETS) {
        let made = ebpf.take_map(name).ok_or_else(|| absent_map(name))?;
        let place = data(&made).ok_or_else(|| absent_map(name))?;
        let map = match reuse.get(name) {
            None => adopt(name, place.fd().as_fd())?,
            Some(there) => {
                let map = adopt(name, there)?;
                if !alike(place, data(&map).ok_or_else(|| absent_map(name))?) {
                    return Err(LoadError::Misfit { name });
                }
                bpf::replace(place.fd().as_fd(), there).map_err(map_error(name))?;
                map
            }
        };
        maps.insert(name, map);
        places.push(made);
    }
    for hook in HOOKS.iter().filter(|hook| !hook.need.is_rare()) {
        load_program(&mut ebpf, abilities, hook)?;
    }
    abilities.see_living &= abilities.table_connections && load_sweep(&mut ebpf, types.as_ref());
    Ok(LoadedObject {
        ebpf,
        maps,
        places,
        abilities,
    })
}

/// Loads the program of a hook, unless it is loaded.
pub fn load_program(
    ebpf: &mut Ebpf,
    abilities: Abilities,
    hook: &'static Hook,
) -> Result<(), LoadError> {
    let name = hook.name;
    let program = ebpf
        .program_mut(abilities.program(name))
        .ok_or(LoadError::Absent {
            kind: "program",
            name,
        })?;
    if program.fd().is_ok() {
        return Ok(());
    }
    let loaded = match program {
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(|source| LoadError::Program { name, source })
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

/// Runs `load` with all signals blocked: while one is pending, the verifier gives up with EAGAIN. They
/// arrive afterwards, or at another thread.
pub fn undisturbed<T>(load: impl FnOnce() -> T) -> T {
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
