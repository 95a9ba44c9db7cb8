//! Maps by their names in the object: what they are to the rest of the kernel side.

use super::LoadError;
use super::names::{
    ADDRESS_BITS, ASKERS, BACKEND_BITS, CALLERS, CLIENTS, ENDPOINT_CONNECTS, ENDPOINTS, NAMESERVER,
    OUTCOMES, SETTINGS,
};
use crate::kernel::address_bits::AddressBits;
use crate::kernel::bpf::io_error;
use crate::kernel::clients::ClientTable;
use crate::kernel::connections::Gone;
use crate::kernel::counters::Counts;
use crate::kernel::keys::Keys;
use crate::kernel::maps::{KernelMaps, MappedTable, Readers};
use crate::kernel::rows::Rows;
use crate::tables::{Declared, each};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Maps by their names in the object.
pub type ByName = BTreeMap<&'static str, OwnedFd>;

/// The same with their kinds.
pub type Typed = BTreeMap<&'static str, Map>;

/// Typed maps, and mappings of them.
pub fn kernel_maps(all: &mut Typed) -> Result<KernelMaps, LoadError> {
    Ok(KernelMaps {
        settings: rows(all, SETTINGS)?,
        tables: each!(T => MappedTable::<T> {
            rows: rows(all, T::MAP)?,
            ids: T::KEYS.map(|map| keys(all, map)).transpose()?,
            connects: T::CONNECTS.map(|map| counters(all, map)).transpose()?,
            arrivals: T::ARRIVALS.map(|map| counters(all, map)).transpose()?,
        }),
        endpoints: rows(all, ENDPOINTS)?,
        address_bits: AddressBits::new(rows(all, ADDRESS_BITS)?),
        backend_bits: AddressBits::new(rows(all, BACKEND_BITS)?),
        callers: hash(all, CALLERS)?,
        nameserver: array(all, NAMESERVER)?,
        askers: hash(all, ASKERS)?,
        outcomes: counters(all, OUTCOMES)?,
        endpoint_connects: counters(all, ENDPOINT_CONNECTS)?,
        readers: Readers::Gone,
        connections: None,
        open: None,
        clients: None,
        flows: 0,
        traffic: None,
        gone: Gone::default(),
    })
}

/// A map by a descriptor of somebody's.
pub fn adopt(name: &'static str, fd: BorrowedFd<'_>) -> Result<Map, LoadError> {
    let fd = fd.try_clone_to_owned().map_err(map_error(name))?;
    MapData::from_fd(fd)
        .and_then(Map::from_map_data)
        .map_err(|error| map_error(name)(io_error(error)))
}

/// The data behind the kinds of map that we have.
pub fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::SkStorage(data)
        | Map::SockHash(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// The map of what is remembered of clients.
pub fn client_table(map: BorrowedFd<'_>) -> Result<ClientTable, LoadError> {
    let map = HashMap::try_from(adopt(CLIENTS, map)?);
    let map = map.map_err(|error: MapError| map_error(CLIENTS)(io_error(error)))?;
    Ok(ClientTable::new(map))
}

pub fn fds(maps: &Typed, names: &[&'static str]) -> Result<ByName, LoadError> {
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

fn array<V: aya::Pod>(
    maps: &mut Typed,
    name: &'static str,
) -> Result<Array<MapData, V>, LoadError> {
    let map = take(maps, name)?;
    Array::try_from(map).map_err(|error: MapError| map_error(name)(io_error(error)))
}

fn keys<K: aya::Pod>(maps: &mut Typed, name: &'static str) -> Result<Keys<K>, LoadError> {
    let map = take(maps, name)?;
    Keys::try_from(map).map_err(|error: MapError| map_error(name)(io_error(error)))
}

fn counters(maps: &mut Typed, name: &'static str) -> Result<Counts, LoadError> {
    let map = take(maps, name)?;
    Counts::try_from(map).map_err(|error: MapError| map_error(name)(io_error(error)))
}

fn take(maps: &mut Typed, name: &'static str) -> Result<Map, LoadError> {
    maps.remove(name).ok_or_else(|| absent_map(name))
}

pub fn absent_map(name: &'static str) -> LoadError {
    LoadError::Absent { kind: "map", name }
}

pub fn map_error(name: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    move |source| LoadError::Map { name, source }
}
