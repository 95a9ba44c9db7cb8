//! The programs and their maps, loaded.

use super::bpf::{self, io_error};
use super::cgroup::mounts;
use super::counters::CounterMaps;
use super::maps::{KernelMaps, Readers};
use super::rows::Rows;
use crate::model::Limits;
use crate::tables::Table;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use kmesh_lite_common::{SINK, Settings};
use nix::sys::signal::{SigSet, SigmaskHow};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The object file that the build made.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// Why the programs are not in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "this kmesh-lite was built without the eBPF programs (KMESH_LITE_EBPF=skip): it can check files, not run"
    )]
    Skipped,
    #[error("cannot load the eBPF object; kernel 5.15 or newer with BTF is needed")]
    Object(#[from] aya::EbpfError),
    #[error("the kernel refused program `{name}`")]
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
    #[error("cannot share map `{name}` with the tables that replace it")]
    Share {
        name: &'static str,
        #[source]
        source: io::Error,
    },
}

/// A program and where it hooks in.
pub struct Hook {
    pub name: &'static str,
    /// `enum bpf_attach_type` of linux/bpf.h.
    pub attach_type: u32,
    pub need: Need,
}

/// When a hook has work to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Always,
    /// While some waypoint gets a header: it costs every connection a little.
    Headers,
}

/// Every hook. The order is that of attaching: headers and peers' names before connects, so that no
/// socket is redirected that would lack its header or whose name would be wrong.
pub const HOOKS: [Hook; 5] = {
    use aya_obj::generated::bpf_attach_type::{
        BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET6_CONNECT,
        BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_SOCK_OPS,
    };
    [
        Hook {
            name: "follow_header",
            attach_type: BPF_CGROUP_SOCK_OPS as u32,
            need: Need::Headers,
        },
        Hook {
            name: "getpeername4",
            attach_type: BPF_CGROUP_INET4_GETPEERNAME as u32,
            need: Need::Always,
        },
        Hook {
            name: "getpeername6",
            attach_type: BPF_CGROUP_INET6_GETPEERNAME as u32,
            need: Need::Always,
        },
        Hook {
            name: "connect4",
            attach_type: BPF_CGROUP_INET4_CONNECT as u32,
            need: Need::Always,
        },
        Hook {
            name: "connect6",
            attach_type: BPF_CGROUP_INET6_CONNECT as u32,
            need: Need::Always,
        },
    ]
};

/// The program that sees what sockets with a pending header send.
const PUSH_HEADER: &str = "push_header";

/// Maps that outlive the tables: what sockets remember, which of them have a header pending, and
/// what is told about them.
const ORIGINALS: &str = "ORIGINALS";
const PENDING: &str = "PENDING";
const EVENTS: &str = "EVENTS";

/// Loaded programs with their maps.
pub struct Object {
    ebpf: Ebpf,
    originals: MapData,
    pending: MapData,
    events: MapData,
    pub maps: KernelMaps,
}

impl Object {
    /// Loads everything with room for `limits`; connects of the process `daemon` are left alone.
    /// With `shared`, sockets that remember something from its programs are understood by these.
    pub fn load(
        limits: &Limits,
        daemon: Option<u32>,
        shared: Option<&Self>,
    ) -> Result<Self, LoadError> {
        if OBJECT.is_empty() {
            return Err(LoadError::Skipped);
        }
        let pinned = match shared {
            Some(object) => object.pin()?,
            None => Vec::new(),
        };
        let mut object = Self::open(undisturbed(|| load_what_works(limits, &pinned))?, limits)?;
        let attached =
            bpf::attach_to_map(object.program(PUSH_HEADER)?, object.pending.fd().as_fd());
        attached.map_err(|source| LoadError::AttachToSockets {
            name: PUSH_HEADER,
            source,
        })?;
        let settings = Settings {
            daemon: daemon.unwrap_or(0),
            ..Settings::default()
        };
        let set = object.maps.settings.set(0, settings);
        set.map_err(|source| LoadError::Map {
            name: "SETTINGS",
            source,
        })?;
        Ok(object)
    }

    fn pin(&self) -> Result<Vec<Pinned>, LoadError> {
        let maps = [
            (ORIGINALS, &self.originals),
            (PENDING, &self.pending),
            (EVENTS, &self.events),
        ];
        let pin = |(name, map): (_, &MapData)| {
            Pinned::new(name, map.fd().as_fd()).map_err(|source| LoadError::Share { name, source })
        };
        maps.into_iter().map(pin).collect()
    }

    /// Makes `socket` the one that swallows bytes nobody is to see.
    pub fn set_sink(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        bpf::add_socket(self.pending.fd().as_fd(), SINK, socket)
    }

    /// Whether no socket has a header pending.
    pub fn has_no_pending_header(&self) -> bool {
        bpf::has_no_other_socket(self.pending.fd().as_fd(), SINK).unwrap_or(false)
    }

    /// What the programs tell. There is one reader.
    pub fn events(&self) -> Result<RingBuf<MapData>, LoadError> {
        let error = |source| LoadError::Map {
            name: EVENTS,
            source,
        };
        let fd = self.events.fd().as_fd().try_clone_to_owned();
        let map = MapData::from_fd(fd.map_err(error)?).map_err(|e| error(io_error(e)))?;
        RingBuf::try_from(Map::RingBuf(map)).map_err(|e| error(io_error(e)))
    }

    fn open(mut ebpf: Ebpf, limits: &Limits) -> Result<Self, LoadError> {
        let originals = match take(&mut ebpf, ORIGINALS)? {
            Map::SkStorage(map) => map,
            _ => return Err(absent_map(ORIGINALS)),
        };
        let pending = match take(&mut ebpf, PENDING)? {
            Map::SockHash(map) => map,
            _ => return Err(absent_map(PENDING)),
        };
        let events = match take(&mut ebpf, EVENTS)? {
            Map::RingBuf(map) => map,
            _ => return Err(absent_map(EVENTS)),
        };
        let maps = KernelMaps {
            settings: rows(&mut ebpf, "SETTINGS", 1)?,
            waypoints: rows(&mut ebpf, "WAYPOINTS", Table::Waypoints.rows(limits))?,
            backends: rows(&mut ebpf, "BACKENDS", Table::Backends.rows(limits))?,
            services: rows(&mut ebpf, "SERVICES", Table::Services.rows(limits))?,
            frontends: rows(&mut ebpf, "FRONTENDS", Table::Frontends.rows(limits))?,
            addresses: rows(&mut ebpf, "ADDRESSES", Table::Addresses.rows(limits))?,
            endpoints: rows(&mut ebpf, "ENDPOINTS", Table::Endpoints.rows(limits))?,
            address_ids: hash(&mut ebpf, "ADDRESS_IDS")?,
            frontend_ids: hash(&mut ebpf, "FRONTEND_IDS")?,
            callers: hash(&mut ebpf, "CALLERS")?,
            counters: CounterMaps {
                outcomes: counters(&mut ebpf, "OUTCOMES")?,
                services: counters(&mut ebpf, "SERVICE_CONNECTS")?,
                backends: counters(&mut ebpf, "BACKEND_CONNECTS")?,
            },
            readers: Readers::Gone,
        };
        Ok(Self {
            ebpf,
            originals,
            pending,
            events,
            maps,
        })
    }

    /// A program by its name.
    pub fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, LoadError> {
        let program = self.ebpf.program(name).ok_or(LoadError::Absent {
            kind: "program",
            name,
        })?;
        let fd = program
            .fd()
            .map_err(|source| LoadError::Program { name, source })?;
        Ok(fd.as_fd())
    }
}

/// Loads with everything that the kernel can do. A helper that it does not have is EINVAL.
fn load_what_works(limits: &Limits, pinned: &[Pinned]) -> Result<Ebpf, LoadError> {
    let lacks = |error: &LoadError| match error {
        LoadError::Program { source, .. } => errno(source) == Some(libc::EINVAL),
        _ => false,
    };
    match load(limits, pinned, true, true) {
        // Without CONFIG_MPTCP there are no such sockets; an older kernel closes them instead.
        Err(error) if lacks(&error) => log::debug!("without bpf_skc_to_mptcp_sock: {error}"),
        loaded => return loaded,
    }
    match load(limits, pinned, true, false) {
        // Before kernel 6.1 these hooks cannot choose the errno of connect().
        Err(error) if lacks(&error) => log::debug!("without bpf_set_retval: {error}"),
        loaded => return loaded,
    }
    let ebpf = load(limits, pinned, false, false)?;
    log::warn!(
        "this kernel cannot choose the error of connect(): refused connects fail with EPERM"
    );
    Ok(ebpf)
}

fn load(
    limits: &Limits,
    pinned: &[Pinned],
    choose_errno: bool,
    know_mptcp: bool,
) -> Result<Ebpf, LoadError> {
    let choose_errno = u8::from(choose_errno);
    let know_mptcp = u8::from(know_mptcp);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("CHOOSE_ERRNO", &choose_errno, true)
        .override_global("KNOW_MPTCP", &know_mptcp, true)
        .map_max_entries("WAYPOINTS", Table::Waypoints.rows(limits))
        .map_max_entries("BACKENDS", Table::Backends.rows(limits))
        .map_max_entries("BACKEND_CONNECTS", Table::Backends.rows(limits))
        .map_max_entries("SERVICES", Table::Services.rows(limits))
        .map_max_entries("SERVICE_CONNECTS", Table::Services.rows(limits))
        .map_max_entries("FRONTENDS", Table::Frontends.rows(limits))
        .map_max_entries("FRONTEND_IDS", Table::Frontends.rows(limits))
        .map_max_entries("ADDRESSES", Table::Addresses.rows(limits))
        .map_max_entries("ADDRESS_IDS", Table::Addresses.rows(limits))
        .map_max_entries("ENDPOINTS", Table::Endpoints.rows(limits));
    for pinned in pinned {
        loader.map_pin_path(pinned.map, pinned.path.as_path());
    }
    let mut ebpf = loader.load(OBJECT)?;
    let names = HOOKS.iter().map(|hook| hook.name).chain([PUSH_HEADER]);
    for name in names {
        let program = ebpf.program_mut(name).ok_or(LoadError::Absent {
            kind: "program",
            name,
        })?;
        let loaded = match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::SockOps(program) => program.load(),
            Program::SkMsg(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|source| LoadError::Program { name, source })?;
    }
    Ok(ebpf)
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

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(absent_map(name))
}

/// The mapping keeps the map alive; its descriptor is not needed any more.
fn rows<T: Copy>(ebpf: &mut Ebpf, name: &'static str, count: u32) -> Result<Rows<T>, LoadError> {
    match take(ebpf, name)? {
        Map::Array(map) => {
            Rows::map(map.fd().as_fd(), count).map_err(|source| LoadError::Map { name, source })
        }
        _ => Err(LoadError::Absent {
            kind: "array",
            name,
        }),
    }
}

fn hash<K: aya::Pod, V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, LoadError> {
    let map = take(ebpf, name)?;
    HashMap::try_from(map).map_err(|error: MapError| LoadError::Map {
        name,
        source: io_error(error),
    })
}

fn counters(ebpf: &mut Ebpf, name: &'static str) -> Result<PerCpuArray<MapData, u64>, LoadError> {
    let map = take(ebpf, name)?;
    PerCpuArray::try_from(map).map_err(|error: MapError| LoadError::Map {
        name,
        source: io_error(error),
    })
}

/// A map under a temporary name in a bpf file system, the only way to hand it to aya's loader.
struct Pinned {
    /// Its name in the object.
    map: &'static str,
    path: PathBuf,
    /// A file system that was mounted for this.
    mounted: Option<PathBuf>,
}

impl Pinned {
    fn new(map: &'static str, fd: BorrowedFd<'_>) -> io::Result<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        // More than one kernel of this process may be growing.
        static PINNED: AtomicU32 = AtomicU32::new(0);
        let number = PINNED.fetch_add(1, Ordering::Relaxed);
        let name = format!("kmesh-lite-{}-{number}", std::process::id());
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        // Not one that another process mounted for this moment: it may vanish in the next.
        let lasting = |mount: &PathBuf| {
            let name = mount.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with("kmesh-lite-")
        };
        for mount in mounts(&table, "bpf").filter(lasting) {
            let path = mount.join(&name);
            match bpf::pin(fd, &path) {
                Ok(()) => {
                    return Ok(Self {
                        map,
                        path,
                        mounted: None,
                    });
                }
                Err(error) => failure = error,
            }
        }
        log::debug!("no bpf file system to use ({failure}): mounting one for a moment");
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        let none: Option<&Path> = None;
        nix::mount::mount(
            none,
            &folder,
            Some("bpf"),
            nix::mount::MsFlags::empty(),
            none,
        )?;
        let pinned = Self {
            map,
            path: folder.join("map"),
            mounted: Some(folder),
        };
        bpf::pin(fd, &pinned.path)?;
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let unpin = std::fs::remove_file(&self.path);
        let unmount = self.mounted.as_ref().map_or(Ok(()), |folder| {
            nix::mount::umount(folder)?;
            std::fs::remove_dir(folder)
        });
        for error in [unpin, unmount].into_iter().filter_map(Result::err) {
            log::warn!(
                "cannot remove the temporary name {}: {error}",
                self.path.display()
            );
        }
    }
}
