//! The maps from keys to ids.

use super::bpf::io_error;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError};
use std::io;

/// Bytes of a key of a trie, without the length before them.
const BYTES: usize = 20;

/// A map from keys to ids, which are numbers from 1: one that finds the key itself, or one that finds the longest key
/// that what is searched for begins with.
pub enum Keys<K> {
    Hash(HashMap<MapData, K, u32>),
    /// The first word of a key says how many bits of it count, and is a part of the value as well.
    Trie(LpmTrie<MapData, [u8; BYTES], [u32; 2]>),
}

impl<K: aya::Pod> Keys<K> {
    pub fn get(&self, key: &K) -> io::Result<Option<u32>> {
        let found = match self {
            Self::Hash(map) => map.get(key, 0),
            Self::Trie(map) => {
                let key = to_trie(key);
                let bits = key.prefix_len();
                let found = map.get(&key, 0);
                // A longer one does not begin what is searched for, and a shorter one is another.
                match found {
                    Ok([_, there]) if there != bits => Err(MapError::KeyNotFound),
                    found => found.map(|[id, _]| id),
                }
            }
        };
        match found {
            Ok(id) => Ok(Some(id)),
            Err(error) => absent(error).map(|()| None),
        }
    }

    pub fn insert(&mut self, key: &K, id: u32) -> io::Result<()> {
        match self {
            Self::Hash(map) => map.insert(key, id, 0),
            Self::Trie(map) => {
                let key = to_trie(key);
                map.insert(&key, [id, key.prefix_len()], 0)
            }
        }
        .map_err(io_error)
    }

    pub fn remove(&mut self, key: &K) -> io::Result<()> {
        let removed = match self {
            Self::Hash(map) => map.remove(key),
            Self::Trie(map) => map.remove(&to_trie(key)),
        };
        removed.or_else(absent)
    }

    pub fn keys(&self) -> Box<dyn Iterator<Item = Result<K, MapError>> + '_> {
        match self {
            Self::Hash(map) => Box::new(map.keys()),
            Self::Trie(map) => Box::new(map.keys().map(|key| key.map(from_trie))),
        }
    }

    pub fn iter(&self) -> Box<dyn Iterator<Item = Result<(K, u32), MapError>> + '_> {
        match self {
            Self::Hash(map) => Box::new(map.iter()),
            Self::Trie(map) => Box::new(
                map.iter()
                    .map(|row| row.map(|(key, [id, _])| (from_trie(key), id))),
            ),
        }
    }
}

impl<K: aya::Pod> TryFrom<Map> for Keys<K> {
    type Error = MapError;

    fn try_from(map: Map) -> Result<Self, MapError> {
        match map {
            Map::LpmTrie(_) => Ok(Self::Trie(LpmTrie::try_from(map)?)),
            map => Ok(Self::Hash(HashMap::try_from(map)?)),
        }
    }
}

/// Nothing, of a key that is not there.
fn absent(error: MapError) -> io::Result<()> {
    match error {
        MapError::KeyNotFound => Ok(()),
        error => match io_error(error) {
            absent if absent.kind() == io::ErrorKind::NotFound => Ok(()),
            error => Err(error),
        },
    }
}

fn to_trie<K: aya::Pod>(key: &K) -> Key<[u8; BYTES]> {
    assert_eq!(
        size_of::<K>(),
        size_of::<Key<[u8; BYTES]>>(),
        "a key of a trie"
    );
    // SAFETY: plain data of this size, the length first.
    unsafe { std::mem::transmute_copy(key) }
}

fn from_trie<K: aya::Pod>(key: Key<[u8; BYTES]>) -> K {
    assert_eq!(
        size_of::<K>(),
        size_of::<Key<[u8; BYTES]>>(),
        "a key of a trie"
    );
    // SAFETY: as above.
    unsafe { std::mem::transmute_copy(&key) }
}
