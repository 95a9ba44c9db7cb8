//! Who may connect to what.

use crate::{Name, Row, id, word};

id!(
    /// Row of the table of authorization policies.
    AuthorizationId
);

word!(
    /// What an authorization policy does with those whom it matches.
    Action: u16 {
        /// They may connect, and others to the same target may not.
        Allow = 1 "allow",
        /// They may not.
        Deny = 2 "deny",
    }
);

word!(
    /// Whether an authorization policy counts.
    Mode: u16 {
        Enforce = 0 "enforce",
        /// What it would refuse is counted and told, and connects all the same.
        Audit = 1 "audit",
    }
);

/// An authorization policy, by name. What it matches stands in guards, [`crate::Rule`]s and [`crate::Source`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Authorization {
    pub name: Name,
    pub action: Action,
    pub mode: Mode,
}

impl Row for Authorization {}

/// The first authorization policy of each sort that matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Matching {
    pub deny: Option<AuthorizationId>,
    pub allow: Option<AuthorizationId>,
    /// The same of those that are in audit mode.
    pub audited_deny: Option<AuthorizationId>,
    pub audited_allow: Option<AuthorizationId>,
}

/// The first authorization policy that allows somebody, so that others are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Closed {
    pub by: Option<AuthorizationId>,
    /// The same of those in audit mode.
    pub audited_by: Option<AuthorizationId>,
}

/// What authorization policies say of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Judgement {
    /// The policy that refuses it.
    pub denied: Option<AuthorizationId>,
    /// The policy that would refuse it if it were not in audit mode. None where one refuses it.
    pub audited: Option<AuthorizationId>,
}

const _: () = assert!(size_of::<Authorization>() == 68 && size_of::<Matching>() == 16);
