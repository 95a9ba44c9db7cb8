//! The programs and their maps, loaded.

use super::bpf::{self, io_error};
use super::cgroup::mounts;
use super::counters::CounterMaps;
use super::maps::{KernelMaps, Readers};
use super::rows::Rows;
use crate::model::Limits;
use crate::tables::Table;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::{CgroupSockAddr, ProgramError};
use aya::{Ebpf, EbpfLoader};
use kmesh_lite_common::Settings;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

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
}

/// Every hook. The order is that of attaching: peers' names before connects, so that no socket is
/// redirected whose name would be wrong.
pub const HOOKS: [Hook; 4] = {
    use aya_obj::generated::bpf_attach_type::{
        BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET6_CONNECT,
        BPF_CGROUP_INET6_GETPEERNAME,
    };
    [
        Hook {
            name: "getpeername4",
            attach_type: BPF_CGROUP_INET4_GETPEERNAME as u32,
        },
        Hook {
            name: "getpeername6",
            attach_type: BPF_CGROUP_INET6_GETPEERNAME as u32,
        },
        Hook {
            name: "connect4",
            attach_type: BPF_CGROUP_INET4_CONNECT as u32,
        },
        Hook {
            name: "connect6",
            attach_type: BPF_CGROUP_INET6_CONNECT as u32,
        },
    ]
};

/// Socket storage, which outlives the tables: sockets keep what they remember when tables grow.
const ORIGINALS: &str = "ORIGINALS";

/// Loaded programs with their maps.
pub struct Object {
    ebpf: Ebpf,
    originals: MapData,
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
        let pinned = shared
            .map(|object| Pinned::new(object.originals.fd().as_fd()))
            .transpose();
        let pinned = pinned.map_err(|source| LoadError::Share {
            name: ORIGINALS,
            source,
        })?;
        let ebpf = match load(limits, pinned.as_ref(), true) {
            // Before kernel 6.1 these hooks cannot choose the errno of connect().
            Err(LoadError::Program { name, source }) => {
                log::debug!("program {name} with bpf_set_retval: {source}");
                let ebpf = load(limits, pinned.as_ref(), false)?;
                log::warn!(
                    "this kernel cannot choose the error of connect(): refused connects fail with EPERM"
                );
                ebpf
            }
            loaded => loaded?,
        };
        let mut object = Self::open(ebpf, limits)?;
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

    fn open(mut ebpf: Ebpf, limits: &Limits) -> Result<Self, LoadError> {
        let originals = match ebpf.take_map(ORIGINALS) {
            Some(Map::SkStorage(map)) => map,
            _ => {
                return Err(LoadError::Absent {
                    kind: "map",
                    name: ORIGINALS,
                });
            }
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
            maps,
        })
    }

    /// The program of a hook.
    pub fn program(&self, hook: &Hook) -> Result<BorrowedFd<'_>, LoadError> {
        let name = hook.name;
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

fn load(
    limits: &Limits,
    originals: Option<&Pinned>,
    choose_errno: bool,
) -> Result<Ebpf, LoadError> {
    let choose_errno = u8::from(choose_errno);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("CHOOSE_ERRNO", &choose_errno, true)
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
    if let Some(pinned) = originals {
        loader.map_pin_path(ORIGINALS, pinned.path.as_path());
    }
    let mut ebpf = loader.load(OBJECT)?;
    for Hook { name, .. } in HOOKS {
        let program = ebpf.program_mut(name).ok_or(LoadError::Absent {
            kind: "program",
            name,
        })?;
        let loaded = <&mut CgroupSockAddr>::try_from(program).and_then(|program| program.load());
        loaded.map_err(|source| LoadError::Program { name, source })?;
    }
    Ok(ebpf)
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name)
        .ok_or(LoadError::Absent { kind: "map", name })
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
    path: PathBuf,
    /// A file system that was mounted for this.
    mounted: Option<PathBuf>,
}

impl Pinned {
    fn new(map: BorrowedFd<'_>) -> io::Result<Self> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let name = format!("kmesh-lite-{}", std::process::id());
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for mount in mounts(&table, "bpf") {
            let path = mount.join(&name);
            match bpf::pin(map, &path) {
                Ok(()) => {
                    return Ok(Self {
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
            path: folder.join("originals"),
            mounted: Some(folder),
        };
        bpf::pin(map, &pinned.path)?;
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
