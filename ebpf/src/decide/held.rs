//! From a client that keeps its endpoint for a time to that endpoint.

use super::seat::{Search, take};
use crate::Seats;
use kmesh_lite_common::{ClientKey, EndpointId, Held, Range};

/// Endpoints among which one is searched for that is not where it was. Where there are more, a client may lose its own when
/// they change.
const SEARCHED: u32 = 1024;

/// Takes a seat at the endpoint that the client keeps, if that is among those in use and has room. Gives the index of its
/// row.
#[inline(always)]
pub fn take_held<S: Seats>(seats: &S, search: &Search, in_use: &Range) -> Option<u32> {
    let affinity = seats.service(search.service)?.clients.affinity;
    let held = seats.held(&search.key(), affinity)?;
    let first = in_use.column(search.column);
    let at = find(seats, first, in_use.count, held)?;
    let index = first.wrapping_add(at);
    take(seats, index, search)?.then_some(index)
}

/// Notes that the client connects to the endpoint of a row, which is the one `at` this number of the column in use. Where
/// it is of another priority, the number is of no use, and the endpoint is not found.
#[inline(always)]
pub fn hold<S: Seats>(seats: &S, key: &ClientKey, index: u32, at: u32) {
    if let Some(row) = seats.endpoint(index)
        && let Some(endpoint) = row.own.endpoint
    {
        seats.hold(key, Held::new(endpoint, at));
    }
}

/// The number of a row of this endpoint in a column: the one where it was, if it is still there.
#[inline(always)]
fn find<S: Seats>(seats: &S, first: u32, count: u32, held: Held) -> Option<u32> {
    if held.at < count {
        let row = seats.endpoint(first.wrapping_add(held.at))?;
        if row.own.endpoint == held.endpoint {
            return Some(held.at);
        }
    }
    // In a table of Maglev the aliases of the first rows name all endpoints; elsewhere each row is one of its own. Either
    // word is looked at without a branch, each of which a verifier would follow in each round.
    let first_row = seats.endpoint(first)?;
    let mask = match first_row.in_maglev() {
        Some(_) => u32::MAX,
        None => 0,
    };
    let mask = seats.blank().wrapping_add(mask);
    let either = |own: u32, alias: u32| own ^ ((own ^ alias) & mask);
    let wanted = word(held.endpoint);
    // A long word, as in the walk over seats.
    let mut at = 0u64;
    while at < SEARCHED as u64 && at < count as u64 {
        let there = seats.blank().wrapping_add(at as u32);
        // Every row of a range is there. So a verifier has one way on.
        let row = seats.endpoint(first.wrapping_add(there))?;
        if either(word(row.own.endpoint), word(row.alias.endpoint)) == wanted {
            return Some(either(there, row.as_seat().alias));
        }
        at += 1;
    }
    None
}

#[inline(always)]
fn word(endpoint: Option<EndpointId>) -> u32 {
    endpoint.map_or(0, |id| id.index().wrapping_add(1))
}
