//! Endpoints of services, laid out for a weighted choice in constant time.

use crate::BackendId;

/// Endpoints of one service at one priority: `count` rows of the endpoint table from `first` on.
/// The rows of a range never change while a service refers to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// Index in the endpoint table.
    pub first: u32,
    /// Number of rows; 0 where the priority has no endpoint that takes new connections.
    pub count: u32,
    /// Sum of the weights; `Endpoint::keep` is out of this.
    pub total: u32,
}

/// One row of an alias table (A. J. Walker, 1977; integer form after M. D. Vose, 1991): draw a row
/// evenly, draw a number below the range's `total`, take `backend` if the number is below `keep`,
/// else `alias`. That holds every weight exactly with two draws and one lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    pub backend: Option<BackendId>,
    pub alias: Option<BackendId>,
    pub keep: u32,
    /// Weight of `backend` in its range. The choice does not read it; dumps do.
    pub weight: u32,
}

const _: () = assert!(size_of::<Range>() == 12 && size_of::<Endpoint>() == 16);
