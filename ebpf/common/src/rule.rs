//! What authorization policies say of one client.

use crate::{GuardId, Matching, Row, id, word};

id!(
    /// Row of the table of rules.
    RuleId
);

word!(
    /// By what a rule knows a client.
    PrincipalKind: u32 {
        /// By the id of a cgroup that it is in or below.
        Cgroup = 1 "cgroup",
        /// By its real user.
        User = 2 "user",
        /// By its real group.
        Group = 3 "group",
    }
);

/// Key of a rule: a client, and the guard of what it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct RuleKey {
    /// The number of the client.
    pub client: u64,
    pub guard: Option<GuardId>,
    pub kind: PrincipalKind,
}

impl RuleKey {
    #[inline(always)]
    pub const fn new(guard: GuardId, kind: PrincipalKind, client: u64) -> Self {
        Self {
            client,
            guard: Some(guard),
            kind,
        }
    }
}

/// What authorization policies say of one client. It holds its own key: the table reads back without its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rule {
    pub key: RuleKey,
    pub matching: Matching,
}

impl Row for Rule {}

const _: () = assert!(size_of::<Rule>() == 32);
