//! From a service whose connections are counted, or whose connects are limited, to an endpoint that has room.
//!
//! Whoever is counted is counted here: by one atomic addition, which is taken back where the limit is passed. So no
//! number of processors lets one connection too many through.

use super::{backend, endpoint, waypoint};
use crate::{Chosen, Connect, Counted, Lookup, Refuse, Seats, Verdict};
use kmesh_lite_common::{
    Balance, Caller, EndpointId, Family, Frontend, Member, PRIORITIES, Policy, Range, Seat,
    ServiceId,
};

/// Endpoints of a priority that are drawn by weight before all are asked in their order.
const DRAWS: u32 = 4;
/// Endpoints of a priority that are asked in their order, from a random one on. Among so many, one that has room is
/// found for sure.
pub const WALK: u32 = 64;

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
    service: ServiceId,
) -> Verdict {
    let picking = &frontend.picking;
    // What a waypoint passes on was admitted when its client connected.
    let is_new = caller != Caller::Waypoint || frontend.waypoint.is_none();
    let counts = picking.counts() && is_new;
    if counts && !tables.take_service(service, picking.max_connections) {
        return Verdict::Refuse(Refuse::ServiceFull);
    }
    let mut verdict = reach(tables, connect, caller, frontend, service);
    if let Verdict::Redirect(to) = &mut verdict {
        if is_new && picking.interval != 0 && !tables.is_due(service, picking.interval) {
            give_back(tables, &to.chosen, to.counted);
            verdict = Verdict::Refuse(Refuse::TooFast);
        } else {
            to.counted.service = counts;
            return verdict;
        }
    }
    if counts {
        tables.leave_service(service);
    }
    verdict
}

/// Takes back what was counted of a connect that came to nothing.
#[inline(always)]
pub fn give_back<L: Lookup>(tables: &L, chosen: &Chosen, counted: Counted) {
    if counted.endpoint
        && let Some(id) = chosen.endpoint
    {
        tables.leave(id);
    }
    if counted.service
        && let Some(id) = chosen.service
    {
        tables.leave_service(id);
    }
}

#[inline(always)]
fn reach<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
    service: ServiceId,
) -> Verdict {
    if let Some(waypoint) = frontend.waypoint
        && caller != Caller::Waypoint
    {
        let chosen = Chosen {
            service: Some(service),
            ..Chosen::default()
        };
        return waypoint::decide(tables, connect, chosen, waypoint);
    }
    if frontend.in_use.count == 0 {
        return Verdict::Refuse(Refuse::NoEndpoint);
    }
    if !frontend.picking.counts() {
        return endpoint::decide(tables, connect, caller, frontend, service);
    }
    let taken = of_service(tables, connect, caller, frontend, service);
    let Some(row) = taken.and_then(|index| tables.endpoint(index)) else {
        return Verdict::Refuse(Refuse::EndpointsFull);
    };
    let member = &row.as_seat().own;
    let mut verdict = backend::decide(tables, connect, caller, frontend.target, service, member);
    let counted = is_counted(member, caller == Caller::Waypoint);
    match &mut verdict {
        Verdict::Redirect(to) => to.counted.endpoint = counted.is_some(),
        _ => {
            if let Some(id) = counted {
                tables.leave(id);
            }
        }
    }
    verdict
}

/// The endpoint whose connection this will be. What the waypoint of a backend passes on was counted when its client
/// connected.
#[inline(always)]
fn is_counted(member: &Member, passes_on: bool) -> Option<EndpointId> {
    if passes_on && member.has_waypoint() {
        return None;
    }
    member.endpoint
}

/// Takes a seat at the nearest priority that has one, of those that the policy allows. Gives the index of its row.
#[inline(always)]
fn of_service<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
    service: ServiceId,
) -> Option<u32> {
    let (mut range, mut next) = (frontend.in_use, 0);
    while next <= PRIORITIES {
        let search = Search {
            first: range.column(frontend.column),
            range,
            balance: frontend.picking.balance,
            passes_on: caller == Caller::Waypoint,
        };
        let taken = tables.take_seat(&search);
        if taken.is_some() {
            return taken;
        }
        // The ranges further away stand in the row of the service, which is looked at when it comes to that.
        let row = tables.service(service)?;
        if row.policy != Policy::Failover {
            return None;
        }
        let ranges = match connect.address.family() {
            Family::V4 => &row.v4,
            Family::V6 => &row.v6,
        };
        range = Range::default();
        while next < PRIORITIES && range.count == 0 {
            if ranges[next].first != frontend.in_use.first {
                range = ranges[next];
            }
            next += 1;
        }
        if range.count == 0 {
            return None;
        }
    }
    None
}

/// What a search for a seat needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pub range: Range,
    /// Where the column begins.
    pub first: u32,
    pub balance: Balance,
    /// Whether a waypoint connects.
    pub passes_on: bool,
}

/// Takes a seat of a range. Gives the index of its row.
#[inline(always)]
pub fn take_seat<S: Seats>(seats: &S, search: &Search) -> Option<u32> {
    let (range, first) = (&search.range, search.first);
    let (mut at, mut tried) = (0, 0);
    while tried < DRAWS + WALK && tried < range.count.saturating_add(DRAWS) {
        at = if tried > DRAWS {
            following(at, range)
        } else if tried == DRAWS {
            endpoint::below(seats.random(), range.count)
        } else if search.balance == Balance::LeastConnections {
            least(seats, first, range)?
        } else {
            draw(seats, first, range)?
        };
        // What a verifier knows of this word would be different on each way, and each looked at for itself.
        at = seats.blank().wrapping_add(at);
        tried += 1;
        let index = first.wrapping_add(at);
        let seat = seats.endpoint(index)?.as_seat();
        match is_counted(&seat.own, search.passes_on) {
            Some(id) if !seats.take(id, seat.limit) => {}
            _ => return Some(index),
        }
    }
    None
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
