//! What is remembered of sockets that send datagrams without connect().

use crate::{Address, Caller, Held, Port, ServiceId, WaypointId};

/// A socket, and an address and port. Of a [`Flow`] that is what the application sends to, of an [`Asked`] it is where
/// answers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// SO_COOKIE.
    pub cookie: u64,
    pub address: Address,
    pub port: Port,
    zero: u16,
    zeros: u32,
}

impl FlowKey {
    #[inline(always)]
    pub const fn new(cookie: u64, address: Address, port: Port) -> Self {
        Self {
            cookie,
            address,
            port,
            zero: 0,
            zeros: 0,
        }
    }
}

/// Where the datagrams of a socket to an address of ours go. It begins with its own key: an element of an LRU map becomes
/// that of another key at any time, and is written from its beginning. Whoever looks at one compares the key last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    pub key: FlowKey,
    /// That of the programs that decided. With the generation, it says whether the tables are still those of then.
    pub epoch: u64,
    pub generation: u64,
    /// Where they go.
    pub address: Address,
    /// The cgroup of the process that sent the one that was decided, its user in the low word and its group in the high
    /// one.
    pub cgroup: u64,
    pub user_and_group: u64,
    /// The endpoint that the socket keeps; none where a waypoint chooses.
    pub held: Held,
    /// That of the endpoint at that time ([`crate::Open::term`]).
    pub term: u32,
    pub service: Option<ServiceId>,
    pub waypoint: Option<WaypointId>,
    /// What the process was to the mesh.
    pub caller: Caller,
    pub port: Port,
    /// 1 where authorization policies say something of it: it depends on who sends.
    pub guarded: u16,
}

impl Flow {
    /// Of no socket.
    pub const EMPTY: Self = Self {
        key: FlowKey::new(0, Address::EVERY, Port::EVERY),
        epoch: 0,
        generation: 0,
        address: Address::EVERY,
        cgroup: 0,
        user_and_group: 0,
        held: Held::NONE,
        term: 0,
        service: None,
        waypoint: None,
        caller: Caller::Ordinary,
        port: Port::EVERY,
        guarded: 0,
    };
}

/// What an application sent to, for the answers that come from somewhere else. Its key comes first as that of a [`Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Asked {
    pub key: FlowKey,
    pub address: Address,
    pub port: Port,
    zero: u16,
    zeros: u32,
}

impl Asked {
    #[inline(always)]
    pub const fn new(key: FlowKey, address: Address, port: Port) -> Self {
        Self {
            key,
            address,
            port,
            zero: 0,
            zeros: 0,
        }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 32 && size_of::<Asked>() == 56);
const _: () = assert!(size_of::<Flow>() == 112);
