//! Authorization policies, and whom they are about.

use super::cgroup::cgroup_ref;
use super::choice::{Choice, Choices};
use super::read::{At, List, Required, Wrong, text};
use super::scalar::{NameText, PrincipalText};
use super::suggest::quote;
use crate::model::{Action, CgroupRef, Mode, Principal};

text! {
    /// Who may connect to what. A policy that denies and matches refuses the connection (EACCES, before any packet). If any
    /// policy allows somebody to connect to a service, one of those must match. Whoever no policy is about may connect.
    PolicyText "a table with `action`, `services` and `clients`" {
        /// What it does with those whom it matches.
        action: Required<At<Choice<Action>>>,
        /// The services that it is about.
        services: Required<List<NameText>>,
        /// The programs of this host that it matches: systemd units like `shop.service` or `shop-*.service`, cgroup paths like
        /// `/user.slice`, each with all that is below it, `user:NAME` and `group:NAME` for the effective user and group of the process,
        /// also by number, and `*` for all.
        clients: Required<List<PrincipalText>>,
        /// Whether it counts. Default: `enforce`.
        mode: Option<At<Choice<Mode>>>,
    }
}

impl Choices for Action {
    const NAME: &'static str = "Action";
    const WHAT: &'static str = "what a policy does: `allow` or `deny`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Allow,
            "allow",
            "its clients may connect to its services, and others may not unless another policy allows it",
        ),
        (
            Self::Deny,
            "deny",
            "its clients may not connect to its services, whatever another policy allows",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        match word.to_ascii_lowercase().as_str() {
            "accept" | "permit" => Some("`allow` is the word for it here"),
            "reject" | "drop" | "block" => Some("`deny` is the word for it here"),
            "audit" => Some("`mode = \"audit\"` counts what a policy would refuse"),
            _ => None,
        }
    }
}

impl Choices for Mode {
    const NAME: &'static str = "Mode";
    const WHAT: &'static str = "a mode: `enforce` or `audit`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Enforce, "enforce", "what it refuses is refused"),
        (
            Self::Audit,
            "audit",
            "what it would refuse is counted, told by `trace` and the access log, and connects",
        ),
    ];
}

/// Whether a policy may name this as a client.
pub fn is_principal(text: &str) -> bool {
    principal(text).is_ok()
}

/// A unit, a cgroup path, a user, a group, or everybody.
pub fn principal(text: &str) -> Result<Principal, Wrong> {
    let named = |kind: &str, name: &str| match name {
        "" => Err(Wrong::new(format!("{} names no {kind}", quote(text)))),
        name if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') => Err(
            Wrong::new(format!("{} is not the name of a {kind}", quote(name))),
        ),
        name => Ok(name.to_owned()),
    };
    match text.split_once(':') {
        _ if text == "*" => Ok(Principal::Anyone),
        Some(("user", name)) => named("user", name).map(Principal::User),
        Some(("group", name)) => named("group", name).map(Principal::Group),
        // Of a form that would be a unit if its stars were letters.
        _ if text.contains('*') && !text.starts_with('/') => {
            cgroup_ref(&text.replace('*', "x")).map_err(|_| {
                Wrong::new(format!("{} is no form of the names of units", quote(text))).help(
                    "`shop-*.service` is every service whose name begins with `shop-`".to_owned(),
                )
            })?;
            Ok(Principal::Cgroup(CgroupRef::Units(text.to_owned())))
        }
        _ => cgroup_ref(text).map(Principal::Cgroup),
    }
}
