//! Who may connect to what.

use super::{Action, CgroupRef, Mode, Name};
use std::collections::BTreeSet;
use std::fmt;

/// An authorization policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub action: Action,
    pub mode: Mode,
    /// What it is about.
    pub services: BTreeSet<Name>,
    /// Whom it matches.
    pub clients: BTreeSet<Principal>,
}

/// Programs of this host that connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    Anyone,
    /// Those in a cgroup, and below it.
    Cgroup(CgroupRef),
    /// Those of an effective user, by its name or its number.
    User(String),
    /// Those of an effective group, by its name or its number.
    Group(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.pad("*"),
            Self::Cgroup(cgroup) => cgroup.fmt(f),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Group(group) => write!(f, "group:{group}"),
        }
    }
}
