//! The connections that were captured and are still held by a program, one row each.

use crate::{Address, BackendId, EndpointId, Port, Protocol, ServiceId, WaypointId};

/// The slots of a bucket.
pub const PLACES: u32 = 4;

/// The slots among which a connection takes one. Cookies are handed out in sequence, so the sockets of a
/// moment are in the same few buckets, and each finds its own place free; the other places are for
/// sockets that meet one of earlier times there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bucket {
    /// SO_COOKIE of the socket that has the slot; 0 where it is free. The row of a slot is element
    /// `PLACES * bucket + place` of the connections.
    pub cookies: [u64; PLACES as usize],
}

impl Bucket {
    /// The index of the bucket of a socket among `count` buckets, a power of two.
    #[inline(always)]
    pub const fn of(cookie: u64, count: u32) -> u32 {
        (cookie / PLACES as u64) as u32 & (count - 1)
    }

    /// The place that a socket takes if it is free.
    #[inline(always)]
    pub const fn first_place(cookie: u64) -> u32 {
        cookie as u32 % PLACES
    }
}

/// One captured connection, from connect() until the program lets go of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// What the application asked for.
    pub address: Address,
    /// When it connected, in nanoseconds of CLOCK_MONOTONIC; as coarse as the kernel's tick.
    pub since: u64,
    /// The cgroup of the process that connected.
    pub cgroup: u64,
    pub service: Option<ServiceId>,
    pub endpoint: Option<EndpointId>,
    pub backend: Option<BackendId>,
    pub waypoint: Option<WaypointId>,
    /// The process that connected: thread group, in the first pid namespace.
    pub process: u32,
    /// Its user.
    pub user: u32,
    /// The low half of the cookie. While a slot changes hands, it tells a reader whose row this is.
    pub owner: u32,
    pub port: Port,
    pub protocol: Protocol,
    pub zero: u8,
}

const _: () = assert!(size_of::<Bucket>() == 32 && size_of::<Connection>() == 64);
