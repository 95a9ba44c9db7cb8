//! Real addresses that serve.

use crate::{Address, Row, WaypointId, id};

id!(
    /// Row of the backend table.
    BackendId
);

/// A real address that serves; its address is its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Backend {
    pub address: Address,
    /// Where connections to it go first.
    pub waypoint: Option<WaypointId>,
}

impl Row for Backend {}

const _: () = assert!(size_of::<Backend>() == 20);
