//! Endpoints of services, laid out for a weighted choice in constant time.

use crate::{Address, BackendId, Port, id};

id!(
    /// The counter of an endpoint, which stays the same for as long as the service has the endpoint.
    EndpointId
);

/// Endpoints of one service at one priority: for each column of the service, `count` rows of the endpoint
/// table. Column `c` begins at `first + c * count`. The columns differ in ports only, because a port of the
/// service may be another one at some endpoints; most services have one column. The rows of a range never
/// change while a service refers to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// Index in the endpoint table.
    pub first: u32,
    /// Number of rows in a column; 0 where the priority has no endpoint that takes new connections.
    pub count: u32,
    /// Sum of the weights in a column; `Endpoint::keep` is out of this.
    pub total: u32,
}

impl Range {
    /// Where a column begins.
    #[inline(always)]
    pub const fn column(&self, column: u16) -> u32 {
        self.first
            .wrapping_add(self.count.wrapping_mul(column as u32))
    }
}

/// What a choice gives: all that a connect has to know of a backend, so that nothing else is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Member {
    /// The backend's.
    pub address: Address,
    pub backend: Option<BackendId>,
    /// What is counted.
    pub endpoint: Option<EndpointId>,
    /// The endpoint's own port; 0 where it is the target of the frontend.
    pub port: Port,
    /// 1 where the backend has a waypoint, which stands in the backend's row.
    behind: u16,
}

impl Member {
    pub const fn new(
        backend: BackendId,
        address: Address,
        endpoint: EndpointId,
        port: Option<Port>,
        has_waypoint: bool,
    ) -> Self {
        Self {
            address,
            backend: Some(backend),
            endpoint: Some(endpoint),
            port: match port {
                Some(port) => port,
                None => Port::new(0),
            },
            behind: has_waypoint as u16,
        }
    }

    /// Whether connects to the backend go to a waypoint first.
    #[inline(always)]
    pub const fn has_waypoint(&self) -> bool {
        self.behind == 1
    }

    /// The port that a connect goes to whose frontend has the target `target`.
    #[inline(always)]
    pub const fn port_or(&self, target: Port) -> Port {
        if self.port.to_be() == 0 {
            target
        } else {
            self.port
        }
    }
}

/// One row of an alias table (A. J. Walker, 1977; integer form after M. D. Vose, 1991): draw a row
/// evenly, draw a number below the range's `total`, take `own` if the number is below `keep`,
/// else `alias`. That holds every weight exactly with two draws and one lookup.
///
/// A row is a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    pub own: Member,
    pub alias: Member,
    pub keep: u32,
    /// Weight of `own` in its range. The choice does not read it; dumps do.
    pub weight: u32,
}

const _: () = assert!(size_of::<Range>() == 12 && size_of::<Endpoint>() == 64);
