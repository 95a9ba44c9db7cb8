//! From the endpoints of one priority to one of them.

use super::backend;
use crate::{Connect, Lookup, Refuse, Verdict};
use kmesh_lite_common::{Caller, Frontend, Member, Range, ServiceId};

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    frontend: &Frontend,
    service: ServiceId,
) -> Verdict {
    match pick(tables, &frontend.in_use, frontend.column) {
        Some(member) => backend::decide(tables, connect, caller, frontend.target, service, member),
        None => Verdict::Refuse(Refuse::Dangling),
    }
}

/// A weighted choice by alias table; its rows are described at [`kmesh_lite_common::Endpoint`].
#[inline(always)]
fn pick<'a, L: Lookup>(tables: &'a L, range: &Range, column: u16) -> Option<&'a Member> {
    let drawn = below(tables.random(), range.count);
    let row = tables.endpoint(range.column(column).wrapping_add(drawn))?;
    if below(tables.random(), range.total) < row.keep {
        Some(&row.own)
    } else {
        Some(&row.alias)
    }
}

/// Maps 32 random bits to `0..limit` by multiplication: no division, and no value is favoured by
/// more than `limit` in 2^32.
#[inline(always)]
pub fn below(random: u32, limit: u32) -> u32 {
    ((random as u64 * limit as u64) >> 32) as u32
}
