//! From the endpoints of one priority to one of them.

use crate::Lookup;
use kmesh_lite_common::{Member, Range};

/// A weighted choice by alias table; its rows are described at [`kmesh_lite_common::Endpoint`].
#[inline(always)]
pub fn pick<'a, L: Lookup>(tables: &'a L, range: &Range, column: u16) -> Option<&'a Member> {
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
