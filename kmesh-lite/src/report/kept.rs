//! The endpoint that a client keeps, as the decision found it.

use crate::tables::{LookedUp, Remembered};
use kmesh_lite_common::EndpointId;

/// What is remembered of a client that is to keep its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// None if there is none, or was too long ago.
    pub endpoint: Option<EndpointId>,
    /// Until when, if the client does not connect again. Both in nanoseconds of CLOCK_MONOTONIC.
    pub until: u64,
    pub now: u64,
}

impl Kept {
    /// None where it is not known who connects, or nothing is kept.
    pub fn of(found: &[LookedUp], affinity: u32, remembered: &Remembered) -> Option<Self> {
        let (key, row) = found.iter().find_map(|found| match found {
            LookedUp::Kept(key, row) => Some((key, row)),
            _ => None,
        })?;
        let held = remembered.kept(key, affinity);
        Some(Self {
            endpoint: held.and_then(|held| held.endpoint),
            until: row.map_or(0, |row| row.kept_until(affinity)),
            now: remembered.now,
        })
    }
}
