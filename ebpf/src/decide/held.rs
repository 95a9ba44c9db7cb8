//! From a client that keeps its endpoint for a time to that endpoint.

use super::seat::{Search, take};
use crate::Seats;
use kmesh_lite_common::{ClientKey, EndpointId, Held, Range};

/// Endpoints among which one is searched for that is not where it was. Where there are more, a client may lose its own when
/// they change.
const SEARCHED: u32 = 1024;
/// How many of them one step of the search looks at.
const STEP: u32 = 32;

/// Takes a seat at the endpoint that the client keeps, if that is among those in use and has room. Gives the index of its
/// row.
#[inline(always)]
pub fn take_held<S: Seats>(seats: &S, search: &Search, in_use: &Range) -> Option<u32> {
    let affinity = seats.service(search.service)?.clients.affinity;
    let held = seats.held(&search.key(), affinity)?;
    let first = in_use.column(search.column);
    let at = find_row(seats, first, in_use.count, held)?;
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
pub fn find_row<S: Seats>(seats: &S, first: u32, count: u32, held: Held) -> Option<u32> {
    if held.at < count {
        let row = seats.endpoint(first.wrapping_add(held.at))?;
        if row.own.endpoint == held.endpoint {
            return Some(held.at);
        }
    }
    let is_maglev = seats.endpoint(first)?.in_maglev().is_some();
    let endpoint = held.endpoint?;
    // A long word, as in the walk over seats.
    let mut at = 0u64;
    while at < SEARCHED as u64 && at < count as u64 {
        let found = seats.find_from(first, at as u32, count, endpoint, is_maglev);
        if found.is_some() {
            return found;
        }
        at += STEP as u64;
    }
    None
}

/// The number of a row of this endpoint, if one of a few rows from that on that comes `at` this number tells of it.
#[inline(always)]
pub fn find_from<S: Seats>(
    seats: &S,
    first: u32,
    at: u32,
    count: u32,
    endpoint: EndpointId,
    is_maglev: bool,
) -> Option<u32> {
    // As above.
    let mut passed = 0u64;
    while passed < STEP as u64 && at as u64 + passed < count as u64 {
        let at = at.wrapping_add(passed as u32);
        let found = find_at(seats, first, at, endpoint, is_maglev);
        if found.is_some() {
            return found;
        }
        passed += 1;
    }
    None
}

/// The number of a row of this endpoint, if that is what the row that comes `at` this number in a column tells of. In a
/// table of Maglev the aliases of the first rows name all endpoints; elsewhere each row is one of its own.
#[inline(always)]
fn find_at<S: Seats>(
    seats: &S,
    first: u32,
    at: u32,
    endpoint: EndpointId,
    is_maglev: bool,
) -> Option<u32> {
    let row = seats.endpoint(first.wrapping_add(at))?;
    let (named, number) = if is_maglev {
        (row.alias.endpoint, row.as_seat().alias)
    } else {
        (row.own.endpoint, at)
    };
    (named == Some(endpoint)).then_some(number)
}
