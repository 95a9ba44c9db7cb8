//! One connect, decided step by step: frontend, endpoint, backend, waypoint. Each step is one file. What
//! a service decides is the same for every connect to a frontend, so it is decided when the tables are
//! built (`service`).

mod arrival;
mod authorize;
mod backend;
mod client;
mod endpoint;
mod frontend;
mod held;
mod query;
mod seat;
mod service;
mod waypoint;

pub use arrival::{NESTED, find_destination, judge_arrival};
pub use authorize::{LEVELS, add, authorize, judged};
pub use client::{at_address, mixed};
pub use held::{find_from, find_row, hold, take_held};
pub use seat::{DRAWS, Search, WALK, draw_seat, give_back, take_at, take_seat, walk_seats};
pub use service::in_use;

use crate::{Lookup, PassReason, Verdict};
use kmesh_lite_common::{Address, Caller, DNS, Family, FrontendKey, Port, Protocol};

/// What a program asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    pub address: Address,
    pub port: Port,
    pub protocol: Protocol,
}

impl Connect {
    /// Whether the socket can be sent to `address`. An IPv6 socket reaches IPv4 by a mapped address,
    /// unless it is one for IPv6 alone; an IPv4 socket never reaches IPv6, and would silently connect
    /// to the low 32 bits if it were told to.
    #[inline(always)]
    fn reaches<L: Lookup>(&self, tables: &L, address: &Address) -> bool {
        match (self.address.family(), address.family()) {
            (Family::V4, Family::V6) => false,
            (Family::V6, Family::V4) => !tables.is_for_v6_alone(),
            _ => true,
        }
    }
}

/// Decides one connect. What the mesh has no part in may be a question to a DNS server.
#[inline(always)]
pub fn decide<L: Lookup>(tables: &L, connect: &Connect) -> Verdict {
    match decide_by_mesh(tables, connect) {
        verdict @ Verdict::Pass(PassReason::NotOurs | PassReason::UndeclaredPort)
            if connect.port == DNS =>
        {
            query::decide(tables, connect).unwrap_or(verdict)
        }
        verdict => verdict,
    }
}

#[inline(always)]
fn decide_by_mesh<L: Lookup>(tables: &L, connect: &Connect) -> Verdict {
    // The whole cost for most traffic that is not ours: one bit.
    if !tables.may_be_ours(&connect.address) {
        return Verdict::Pass(PassReason::NotOurs);
    }
    let key = FrontendKey::new(connect.address, connect.port, connect.protocol);
    if let Some(frontend) = tables.frontend(&key) {
        return match tables.caller() {
            Caller::Bypass => Verdict::Pass(PassReason::Bypass),
            caller => frontend::decide(tables, connect, caller, frontend),
        };
    }
    let Some(address) = tables.address(&connect.address) else {
        return Verdict::Pass(PassReason::NotOurs);
    };
    match tables.caller() {
        Caller::Bypass => Verdict::Pass(PassReason::Bypass),
        caller => frontend::undeclared(tables, connect, caller, address),
    }
}
