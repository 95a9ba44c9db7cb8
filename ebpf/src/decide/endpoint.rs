//! From the endpoints of one priority to one of them.

use super::backend;
use crate::{Connect, Lookup, Refuse, Verdict};
use kmesh_lite_common::{BackendId, Caller, Port, Range, ServiceId};

#[inline(always)]
pub fn decide<L: Lookup>(
    tables: &L,
    connect: &Connect,
    caller: Caller,
    target: Port,
    service: ServiceId,
    range: &Range,
) -> Verdict {
    match pick(tables, range) {
        Some(id) => backend::decide(tables, connect, caller, target, service, id),
        None => Verdict::Refuse(Refuse::Dangling),
    }
}

/// A weighted choice by alias table; its rows are described at [`kmesh_lite_common::Endpoint`].
#[inline(always)]
fn pick<L: Lookup>(tables: &L, range: &Range) -> Option<BackendId> {
    let row = tables.endpoint(
        range
            .first
            .wrapping_add(below(tables.random(), range.count)),
    )?;
    if below(tables.random(), range.total) < row.keep {
        row.backend
    } else {
        row.alias
    }
}

/// Maps 32 random bits to `0..limit` by multiplication: no division, and no value is favoured by
/// more than `limit` in 2^32.
#[inline(always)]
fn below(random: u32, limit: u32) -> u32 {
    ((random as u64 * limit as u64) >> 32) as u32
}
