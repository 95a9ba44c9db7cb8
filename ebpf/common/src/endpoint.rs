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

/// A row of a range whose service needs more than a draw, in the place of an [`Endpoint`]. The alias is the number of a
/// row of the same column, because what is known of an endpoint stands in its own row.
///
/// There are two layouts. One is the alias table, with one row for each endpoint. The other is the lookup table of Maglev
/// (D. E. Eisenbud and others, 2016), where each endpoint has as many rows as its weight is worth, so that a client is
/// given a row for good. There `keep` is all, and the aliases of the first rows name one row of each endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Seat {
    pub own: Member,
    /// How many connections to `own` may be open; 0 for any number.
    pub limit: u32,
    pub alias: u32,
    /// How many endpoints the range has, where the layout is that of Maglev.
    pub endpoints: u32,
    /// How many rows of a column `own` has there.
    pub slots: u32,
    /// Those of `own` once more: so the row refers to nothing else when it is taken for an [`Endpoint`].
    backend: Option<BackendId>,
    endpoint: Option<EndpointId>,
    none: u16,
    /// Which layout it is; 0 or 1 in an [`Endpoint`].
    layout: u16,
    pub keep: u32,
    pub weight: u32,
}

impl Seat {
    const MAGLEV: u16 = 2;

    pub const fn new(own: Member, limit: u32, alias: u32, keep: u32, weight: u32) -> Self {
        Self {
            own,
            limit,
            alias,
            endpoints: 0,
            slots: 0,
            backend: own.backend,
            endpoint: own.endpoint,
            none: 0,
            layout: 0,
            keep,
            weight,
        }
    }

    /// The row as one of a lookup table of Maglev.
    pub const fn in_maglev(self, endpoints: u32, slots: u32) -> Self {
        Self {
            endpoints,
            slots,
            layout: Self::MAGLEV,
            ..self
        }
    }
}

impl Endpoint {
    /// The row as one of a lookup table of Maglev, if it is one.
    pub const fn in_maglev(&self) -> Option<&Seat> {
        match self.alias.behind {
            Seat::MAGLEV => Some(self.as_seat()),
            _ => None,
        }
    }

    /// The row as one of a range of seats.
    #[inline(always)]
    pub const fn as_seat(&self) -> &Seat {
        // SAFETY: both are as large and as aligned, and valid for every bit pattern.
        unsafe { &*(self as *const Self).cast::<Seat>() }
    }
}

impl From<Seat> for Endpoint {
    fn from(seat: Seat) -> Self {
        // SAFETY: as in `as_seat`.
        unsafe { core::mem::transmute::<Seat, Self>(seat) }
    }
}

const _: () = assert!(size_of::<Range>() == 12 && size_of::<Endpoint>() == 64);
const _: () = assert!(size_of::<Seat>() == size_of::<Endpoint>());
const _: () = assert!(align_of::<Seat>() == align_of::<Endpoint>());
const _: () = {
    assert!(core::mem::offset_of!(Seat, keep) == core::mem::offset_of!(Endpoint, keep));
    assert!(core::mem::offset_of!(Seat, weight) == core::mem::offset_of!(Endpoint, weight));
};
