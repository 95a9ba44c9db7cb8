//! Authorization policies, and whom they are about.

use super::cgroup::cgroup_ref;
use super::choice::{Choice, Choices};
use super::local_port::LocalPortText;
use super::read::{At, List, Required, Wrong, text};
use super::scalar::{Flag, NameText, PrincipalText, SourceText};
use super::suggest::quote;
use crate::model::{Action, CgroupRef, Mode, OnError, Principal};

text! {
    /// Who may connect to what: see AUTHORIZATION. A policy has one side or two. `clients` are programs of this host. They
    /// are judged when they connect to `services`, before any packet. `from` are addresses. Their connections are judged
    /// where they arrive at this host: at endpoints of `services`, and at `ports`. A policy says nothing of a side that it
    /// lacks. Each policy needs `services` or `ports`, and `clients` or `from`.
    PolicyText "a table with `action`, what it is about, and whom it matches" {
        /// What it does with those whom it matches.
        action: Required<At<Choice<Action>>>,
        /// The services that it is about. A program connects to a service at any of its addresses. A connection
        /// arrives at a service if it arrives at the address and port of one of its endpoints.
        services: Option<List<NameText>>,
        /// Ports of this host that it is about, whatever program listens there. They need `from`. An item is an integer,
        /// or text: `"8000-8099"` is a range, `"53/udp"` a port of UDP, `"10.0.0.5:5432"` and `"[fd00::1]:443"` are at one
        /// address of this host, `"*"` is every port of TCP, and `"*/udp"` every port of UDP. Ports that no policy names are
        /// never touched, unless an endpoint of its services is there.
        /// Of UDP, datagrams to sockets that are not connected are judged, each of them, the answers to questions of this
        /// host among them (`"*/udp"`, and ranges that its own ports are in); broadcast and multicast are not.
        ports: Option<List<LocalPortText>>,
        /// The programs of this host that it matches: systemd units like `shop.service` or `shop-*.service`, cgroup paths like
        /// `/user.slice`, each with all that is below it, `user:NAME` and `group:NAME` for the real user and group of the process,
        /// also by number, and `*` for all. They need `services`. An allow policy with `[]` closes its services to all
        /// programs of this host. A unit that starts has a new cgroup, which is known some milliseconds later: until then an allow
        /// policy that names it refuses it, and a deny policy lets it through. A slice by its path, a user and a group are
        /// known all the time. Of UDP, connect() is judged, and each datagram that names its address. Default: it says nothing of
        /// programs.
        clients: Option<List<PrincipalText>>,
        /// The addresses that it matches when their connections arrive. An item is a network like `10.1.0.0/16`, an
        /// address, `service:NAME` for the endpoints of a service, `locality:NAME` for the endpoints in an entry of `[localities]`,
        /// `locality:REGION`, `locality:REGION/ZONE` or `locality:REGION/ZONE/SUBZONE` for the endpoints there, or `group:NAME`
        /// for an entry of `[groups]`. An allow policy with `[]` closes what it is about to everybody who connects to this host.
        /// Default: it says nothing of connections that arrive.
        from: Option<List<SourceText>>,
        /// Whether it counts. Default: `enforce`.
        mode: Option<At<Choice<Mode>>>,
        /// What holds while it is not known whom `from` matches. Default: names of endpoints that are not resolved
        /// match nobody, and a kernel that cannot judge connections that arrive is an error.
        on_error: Option<At<Choice<OnError>>>,
        /// Whether it also ends standing connections that are no longer allowed: those to services, and those that arrived.
        /// Those that a program made straight to an endpoint's own address are seen in the daemon's network namespace alone. The
        /// reload says how many.
        /// Default: false: only new connections are judged.
        enforce_existing: Option<At<Flag>>,
        /// Whether it counts even if it would cut off the operator. A policy that refuses a connection over which this host
        /// is administered, or one of the mesh itself, is an error otherwise. Default: false.
        force: Option<At<Flag>>,
    }
}

text! {
    /// Addresses under one name. Policies and other groups name it in `from`.
    GroupText "a table with `from`" {
        /// The addresses, written as in `from` of a policy. A group may have others, and none may contain itself.
        from: Required<List<SourceText>>,
    }
}

impl Choices for Action {
    const NAME: &'static str = "Action";
    const WHAT: &'static str = "what a policy does: `allow` or `deny`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Allow,
            "allow",
            "whom it matches may connect, and others may not unless another policy allows it",
        ),
        (
            Self::Deny,
            "deny",
            "whom it matches may not connect, whatever another policy allows",
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

impl Choices for OnError {
    const NAME: &'static str = "OnError";
    const WHAT: &'static str = "`open` or `closed`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Open, "open", "the policy refuses nobody"),
        (
            Self::Closed,
            "closed",
            "the policy refuses everybody; a kernel that cannot judge connections that arrive is an error",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        match word.to_ascii_lowercase().as_str() {
            "allow" | "accept" | "fail-open" | "ignore" => Some("`open` lets everybody connect"),
            "deny" | "reject" | "drop" | "close" | "fail-closed" | "refuse" => {
                Some("`closed` lets nobody connect")
            }
            _ => None,
        }
    }
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
        // The last number means nobody.
        name if name.bytes().all(|c| c.is_ascii_digit())
            && name.parse().unwrap_or(u32::MAX) == u32::MAX =>
        {
            let wrong = Wrong::new(format!("{} is not the number of a {kind}", quote(name)));
            Err(wrong.expected("a number from 0 to 4294967294"))
        }
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
        _ if text.contains('*') => Err(Wrong::new(format!(
            "{} is not a cgroup path: it has `*`",
            quote(text)
        ))
        .help(
            "a path stands for all cgroups below it, and units may have `*`: `shop-*.service`"
                .to_owned(),
        )),
        _ => cgroup_ref(text).map(Principal::Cgroup),
    }
}
