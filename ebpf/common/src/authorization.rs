//! Who may connect to what.

use crate::{Name, Row, ServiceId, id, word};

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

/// An authorization policy, by name. What it matches stands in [`Rule`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Authorization {
    pub name: Name,
    pub action: Action,
    pub mode: Mode,
}

impl Row for Authorization {}

id!(
    /// Row of the table of rules.
    RuleId
);

word!(
    /// By what a rule knows a client.
    PrincipalKind: u32 {
        Anyone = 0 "anyone",
        /// By the id of a cgroup that it is in or below.
        Cgroup = 1 "cgroup",
        /// By its effective user.
        User = 2 "user",
        /// By its effective group.
        Group = 3 "group",
    }
);

/// Key of a rule: a client, and the service that it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct RuleKey {
    /// The number of the client, 0 for anyone.
    pub client: u64,
    pub service: Option<ServiceId>,
    pub kind: PrincipalKind,
}

impl RuleKey {
    #[inline(always)]
    pub const fn new(service: ServiceId, kind: PrincipalKind, client: u64) -> Self {
        Self {
            client,
            service: Some(service),
            kind,
        }
    }

    /// The rule for all clients of a service, which every service has that a policy is about.
    #[inline(always)]
    pub const fn anyone(service: ServiceId) -> Self {
        Self::new(service, PrincipalKind::Anyone, 0)
    }
}

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

/// What authorization policies say of one client of a service. It holds its own key: the table reads back without its
/// index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rule {
    pub key: RuleKey,
    pub matching: Matching,
    /// In the rule for anyone: the first policy that allows somebody, so that others are refused.
    pub closed_by: Option<AuthorizationId>,
    /// The same of those in audit mode.
    pub audit_closed_by: Option<AuthorizationId>,
    /// In the rule for anyone: bit `n` is set if a rule is about a cgroup `n` levels below the root.
    pub levels: u32,
    pub zero: u32,
}

impl Row for Rule {}

const _: () = assert!(size_of::<Rule>() == 48 && size_of::<Authorization>() == 68);
