//! From a service whose connections are counted, or whose connects are limited, to an endpoint that has room.
//!
//! Whoever is counted is counted here: by one atomic addition, which is taken back where the limit is passed. So no
//! number of processors lets one connection too many through.

use super::endpoint;
use super::frontend::passes_on;
use crate::{Chosen, Lookup, Refuse, Seats, Taken, Verdict};
use kmesh_lite_common::{
    Balance, Caller, ClientKey, ClientsBy, EndpointId, Family, Frontend, Member, PRIORITIES,
    Policy, Range, Seat, ServiceId,
};

/// Endpoints of a priority that are drawn by weight before all are asked in their order.
pub const DRAWS: u32 = 4;
/// Endpoints of a priority that are asked in their order, from a random one on. Among so many, one that has room is
/// found for sure.
pub const WALK: u32 = 64;

/// Admits a connect to a service that is not a plain one.
#[inline(always)]
pub fn admit<L: Lookup>(
    tables: &L,
    caller: Caller,
    frontend: &Frontend,
    service: ServiceId,
) -> Result<Taken, Refuse> {
    let picking = &frontend.picking;
    if passes_on(caller, frontend) {
        return Ok(Taken::NOTHING);
    }
    if picking.limits_clients() && !tables.is_client_due(service) {
        return Err(Refuse::ClientTooFast);
    }
    if picking.interval != 0 && !tables.is_due(service, picking.interval) {
        return Err(Refuse::TooFast);
    }
    if !picking.counts() {
        return Ok(Taken::NOTHING);
    }
    if !tables.take_service(service, picking.max_connections) {
        return Err(Refuse::ServiceFull);
    }
    Ok(Taken::SERVICE)
}

/// Notes what the connection is one of, or takes it back where there is none.
#[inline(always)]
pub fn settle<L: Lookup>(
    tables: &L,
    verdict: &mut Verdict,
    seat: Option<EndpointId>,
    service: ServiceId,
    taken: Taken,
) {
    if let Verdict::Redirect(to) = verdict {
        let seat = if seat.is_some() {
            Taken::ENDPOINT
        } else {
            Taken::NOTHING
        };
        to.taken = taken.with(seat).blurred(tables.blank());
    } else {
        tables.leave(seat, taken.has(Taken::SERVICE).then_some(service));
    }
}

/// Takes back what was counted of a connect that came to nothing.
#[inline(always)]
pub fn give_back<L: Lookup>(tables: &L, chosen: &Chosen, taken: Taken) {
    let endpoint = chosen.endpoint.filter(|_| taken.has(Taken::ENDPOINT));
    let service = chosen.service.filter(|_| taken.has(Taken::SERVICE));
    tables.leave(endpoint, service);
}

/// Takes a seat. Gives who sits there.
#[inline(always)]
pub fn member<'a, L: Lookup>(
    tables: &'a L,
    search: &Search,
    frontend: &Frontend,
) -> Option<&'a Member> {
    let holds = frontend.picking.holds();
    let kept = if holds {
        tables.take_held(search, &frontend.in_use)
    } else {
        None
    };
    let index = match kept {
        Some(index) => index,
        None => tables.take_seat(search)?,
    };
    if holds {
        let at = index.wrapping_sub(frontend.in_use.column(search.column));
        tables.hold_at(search, index, at);
    }
    Some(&tables.endpoint(index)?.as_seat().own)
}

/// What a search for a seat needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pub service: ServiceId,
    /// Who connects, where it depends on that which endpoint is picked.
    pub client: u64,
    /// What was asked for.
    pub family: Family,
    pub column: u16,
    pub balance: Balance,
    /// Whether open connections are counted.
    pub counts: bool,
    /// How a client that keeps its endpoint is told from others.
    pub kept_by: ClientsBy,
    /// Whether it keeps one for each family.
    pub is_apart: bool,
    /// Whether a waypoint connects.
    pub passes_on: bool,
}

impl Search {
    /// What is known of the client is known by this.
    #[inline(always)]
    pub const fn key(&self) -> ClientKey {
        let family = if self.is_apart {
            self.family
        } else {
            Family::V4
        };
        ClientKey::held(self.service, self.kept_by, family, self.client)
    }

    /// The endpoint whose connection this will be. What the waypoint of a backend passes on was counted when its
    /// client connected.
    #[inline(always)]
    pub fn counted(&self, member: &Member) -> Option<EndpointId> {
        if !self.counts || self.passes_on && member.has_waypoint() {
            return None;
        }
        member.endpoint
    }
}

/// Takes a seat at the nearest priority that has one, of those that the policy allows. Gives the index of its row.
#[inline(always)]
pub fn take_seat<S: Seats>(seats: &S, search: &Search) -> Option<u32> {
    let service = seats.service(search.service)?;
    let ranges = match search.family {
        Family::V4 => &service.v4,
        Family::V6 => &service.v6,
    };
    let allowed = if service.policy == Policy::Failover {
        PRIORITIES
    } else {
        1
    };
    let mut priority = 0;
    while priority < allowed {
        let range = &ranges[priority];
        if range.count != 0 {
            let mut taken = seats.draw_seat(range, search);
            if taken.is_none() {
                taken = seats.walk_seats(range, search);
            }
            if taken.is_some() {
                return taken;
            }
        }
        priority += 1;
    }
    None
}

/// Takes a seat at one of a few endpoints of a range, which is not empty: drawn by weight, or those of the client. Gives the
/// index of its row.
#[inline(always)]
pub fn draw_seat<S: Seats>(seats: &S, range: &Range, search: &Search) -> Option<u32> {
    let first = range.column(search.column);
    let mut drawn = 0;
    while drawn < DRAWS {
        let at = if search.balance == Balance::ConsistentHash {
            endpoint::below(seats.of_client(search.client, drawn), range.count)
        } else if search.balance == Balance::LeastConnections {
            least(seats, first, range)?
        } else {
            draw(seats, first, range)?
        };
        let index = first.wrapping_add(seats.blank().wrapping_add(at));
        if take(seats, index, search)? {
            return Some(index);
        }
        drawn += 1;
    }
    None
}

/// Takes a seat at the first endpoint of such a range that has room, from a random one on, or from one that is the
/// client's. Gives the index of its row.
#[inline(always)]
pub fn walk_seats<S: Seats>(seats: &S, range: &Range, search: &Search) -> Option<u32> {
    let first = range.column(search.column);
    let is_by_client = search.balance == Balance::ConsistentHash;
    let (count, random) = if is_by_client {
        let endpoints = seat(seats, first, 0)?.endpoints;
        (endpoints, seats.of_client(search.client, DRAWS))
    } else {
        (range.count, seats.random())
    };
    let start = endpoint::below(random, count);
    // A long word: a verifier that sees half of one written may lose the other, where that counts a loop.
    let mut walked = 0u64;
    while walked < WALK as u64 && walked < count as u64 {
        // Each branch in a loop is many ways through it for a verifier, so the step turns back at the end.
        let taken = seats.take_at(first, start.wrapping_add(walked as u32), count, search);
        if taken.is_some() {
            return taken;
        }
        walked += 1;
    }
    None
}

/// Takes a seat at the endpoint that comes `at` this number in a column of `count`, or in one more round of it, if it has
/// room. Gives the index of its row.
#[inline(always)]
pub fn take_at<S: Seats>(
    seats: &S,
    first: u32,
    at: u32,
    count: u32,
    search: &Search,
) -> Option<u32> {
    let at = if at < count { at } else { at - count };
    // In a table of Maglev the aliases of the first rows name all endpoints.
    let row = if search.balance == Balance::ConsistentHash {
        seat(seats, first, at)?.alias
    } else {
        at
    };
    let index = first.wrapping_add(row);
    take(seats, index, search)?.then_some(index)
}

/// Whether there is room at the endpoint of this row, which is taken then.
#[inline(always)]
pub fn take<S: Seats>(seats: &S, index: u32, search: &Search) -> Option<bool> {
    let seat = seats.endpoint(index)?.as_seat();
    Some(match search.counted(&seat.own) {
        Some(id) => seats.take(id, seat.limit),
        None => true,
    })
}

/// Of two that are drawn, the one with fewer open connections for its weight. They are never the same where there
/// are two.
#[inline(always)]
fn least<S: Seats>(seats: &S, first: u32, range: &Range) -> Option<u32> {
    let one = draw(seats, first, range)?;
    let mut other = draw(seats, first, range)?;
    if other == one {
        other = following(one, range.count);
    }
    let (open, weight) = load(seats, first, one)?;
    let (open_there, weight_there) = load(seats, first, other)?;
    let fewer = open_there as u64 * (weight as u64) < open as u64 * weight_there as u64;
    Some(if fewer { other } else { one })
}

/// How many connections an endpoint has, and its weight.
#[inline(always)]
fn load<S: Seats>(seats: &S, first: u32, at: u32) -> Option<(u32, u32)> {
    let seat = seat(seats, first, at)?;
    Some((seats.open(seat.own.endpoint?), seat.weight))
}

/// As [`endpoint::decide`] draws. Gives the number of the row in its column.
#[inline(always)]
fn draw<S: Seats>(seats: &S, first: u32, range: &Range) -> Option<u32> {
    let drawn = endpoint::below(seats.random(), range.count);
    let seat = seat(seats, first, drawn)?;
    if endpoint::below(seats.random(), range.total) < seat.keep {
        Some(drawn)
    } else {
        Some(seat.alias)
    }
}

#[inline(always)]
fn following(at: u32, count: u32) -> u32 {
    let next = at.wrapping_add(1);
    if next < count { next } else { 0 }
}

#[inline(always)]
fn seat<S: Seats>(seats: &S, first: u32, at: u32) -> Option<&Seat> {
    Some(seats.endpoint(first.wrapping_add(at))?.as_seat())
}
