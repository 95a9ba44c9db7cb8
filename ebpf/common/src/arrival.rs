//! Connections that arrive at addresses of the mesh.

use crate::{Address, Port};

/// Whose arrivals are counted in one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct ArrivalKey {
    /// Where they arrived.
    pub local: Address,
    /// Where they came from; the unspecified address for all that no backend may have.
    pub source: Address,
    pub port: Port,
    pub zero: u16,
}

const _: () = assert!(size_of::<ArrivalKey>() == 36);
