//! What all authorization policies together say of a target.

use crate::{Closed, Judgement, Matching, Name, Row, id};

id!(
    /// Row of the table of guards.
    GuardId
);

/// What all authorization policies together say of a target: of a service, or of whatever else is at the same address
/// and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Guard {
    /// The service, or the names of all that is guarded here, joined.
    pub name: Name,
    /// What matches every client.
    pub anyone: Matching,
    /// Whether clients that nothing matches are refused.
    pub closed: Closed,
    /// What is said of connections that arrive from an address that is in no [`crate::Source`].
    pub elsewhere: Judgement,
    /// Bit `n` is set if a rule is about a cgroup `n` levels below the root.
    pub levels: u32,
}

impl Row for Guard {}

const _: () = assert!(size_of::<Guard>() == 100);
