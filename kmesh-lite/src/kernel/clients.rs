//! What is remembered of clients, looked up one by one.

use super::bpf::io_error;
use aya::maps::{HashMap, MapData, MapError};
use kmesh_lite_common::{ClientKey, ClientRow};
use std::io;

/// The map of clients. Nothing is written, and nobody is remembered for longer because of a look: in an LRU map a
/// look-up by a system call is no use of the element (Linux 5.2 and newer).
pub struct ClientTable(HashMap<MapData, ClientKey, ClientRow>);

impl ClientTable {
    pub fn new(map: HashMap<MapData, ClientKey, ClientRow>) -> Self {
        Self(map)
    }

    /// What is remembered of a client, if anything is.
    pub fn get(&self, key: &ClientKey) -> io::Result<Option<ClientRow>> {
        match self.0.get(key, 0) {
            Ok(row) => Ok(Some(row)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(io_error(error)),
        }
    }
}
