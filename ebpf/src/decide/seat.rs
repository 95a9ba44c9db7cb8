//! From a service whose connections are counted, or whose connects are limited, to an endpoint that has room.
//!
//! Whoever is counted is counted here: by one atomic addition, which is taken back where the limit is passed. So no
//! number of processors lets one connection too many through.

use super::endpoint;
use crate::{Chosen, Lookup, Refuse, Seats, Taken, Verdict};
use kmesh_lite_common::{
    Balance, Caller, EndpointId, Family, Frontend, Member, PRIORITIES, Policy, Range, Seat,
    ServiceId,
};

/// Endpoints of a priority that are drawn by weight before all are asked in their order.
const DRAWS: u32 = 4;
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
    // What a waypoint passes on was admitted when its client connected.
    if caller == Caller::Waypoint && frontend.waypoint.is_some() {
        return Ok(Taken::NOTHING);
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
pub fn member<'a, L: Lookup>(tables: &'a L, search: &Search) -> Option<&'a Member> {
    let index = tables.take_seat(search)?;
    Some(&tables.endpoint(index)?.as_seat().own)
}

/// What a search for a seat needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pub service: ServiceId,
    /// What was asked for.
    pub family: Family,
    pub column: u16,
    pub balance: Balance,
    /// Whether a waypoint connects.
    pub passes_on: bool,
}

impl Search {
    /// The endpoint whose connection this will be. What the waypoint of a backend passes on was counted when its
    /// client connected.
    #[inline(always)]
    pub fn counted(&self, member: &Member) -> Option<EndpointId> {
        if self.passes_on && member.has_waypoint() {
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
            let taken = seats.take_seat_of(range, search);
            if taken.is_some() {
                return taken;
            }
        }
        priority += 1;
    }
    None
}

/// Takes a seat of a range that is not empty. Gives the index of its row.
#[inline(always)]
pub fn take_seat_of<S: Seats>(seats: &S, range: &Range, search: &Search) -> Option<u32> {
    let first = range.column(search.column);
    let (mut drawn, mut walked) = (0, 0);
    while drawn < DRAWS {
        let at = if search.balance == Balance::LeastConnections {
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
    let mut at = endpoint::below(seats.random(), range.count);
    while walked < WALK && walked < range.count {
        // What a verifier knows of this word would be different on each way, and each looked at for itself.
        at = seats.blank().wrapping_add(at);
        let index = first.wrapping_add(at);
        if take(seats, index, search)? {
            return Some(index);
        }
        at = following(at, range);
        walked += 1;
    }
    None
}

/// Whether there is room at the endpoint of this row, which is taken then.
#[inline(always)]
fn take<S: Seats>(seats: &S, index: u32, search: &Search) -> Option<bool> {
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
        other = following(one, range);
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
fn following(at: u32, range: &Range) -> u32 {
    let next = at.wrapping_add(1);
    if next < range.count { next } else { 0 }
}

#[inline(always)]
fn seat<S: Seats>(seats: &S, first: u32, at: u32) -> Option<&Seat> {
    Some(seats.endpoint(first.wrapping_add(at))?.as_seat())
}
