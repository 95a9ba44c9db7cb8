//! Who may connect to what.

use super::{Action, CgroupRef, Locality, Mode, Name, Protocol};
use imbl::OrdSet;
use ipnetwork::IpNetwork;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// An authorization policy. What it says of `clients` holds where they connect, what it says of `from` where
/// connections arrive; a side that it says nothing of is not its business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub action: Action,
    pub mode: Mode,
    /// Services that it is about, at every address of their endpoints.
    pub services: BTreeSet<Name>,
    /// Ports of this host that it is about.
    pub ports: BTreeSet<LocalPorts>,
    /// The programs of this host that it matches, if it says something of programs.
    pub clients: Option<BTreeSet<Principal>>,
    /// The addresses that it matches, if it says something of addresses. Groups are resolved.
    pub from: Option<OrdSet<Source>>,
    /// What holds when it is not known whom it matches. Without it, names that are not resolved match nobody, and a
    /// kernel that cannot judge connections that arrive is an error.
    pub on_error: Option<OnError>,
    /// Whether it also ends connections that stand.
    pub enforce_existing: bool,
    /// Whether it counts even though it would cut off the operator.
    pub force: bool,
}

/// Ports of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalPorts {
    /// None for every address of this host.
    pub address: Option<IpAddr>,
    pub protocol: Protocol,
    /// None for every port.
    pub range: Option<(u16, u16)>,
}

/// Addresses that connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// All of a network; its host bits are 0.
    Network(IpNetwork),
    /// Those of the endpoints of a service.
    Service(Name),
    /// Those of the backends that are in a region, or in a part of it.
    Locality(Locality),
}

/// What holds when it is not known whom a policy matches: names of endpoints are not resolved, or the kernel cannot
/// judge connections that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnError {
    /// The policy refuses nobody.
    Open,
    /// The policy refuses everybody. A kernel that cannot judge is an error.
    Closed,
}

/// Programs of this host that connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    Anyone,
    /// Those in a cgroup, and below it.
    Cgroup(CgroupRef),
    /// Those of a user (the real one of the process), by its name or its number.
    User(String),
    /// Those of a group (the real one of the process), by its name or its number.
    Group(String),
}

impl LocalPorts {
    /// Whether it covers a port of an address of this host.
    pub fn cover(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        self.protocol == protocol
            && self.address.is_none_or(|own| own == address)
            && self
                .range
                .is_none_or(|(first, last)| (first..=last).contains(&port))
    }
}

impl Locality {
    /// Whether `other` is there: in this region, and in this zone and subzone of it where they are given.
    pub fn holds(&self, other: &Self) -> bool {
        let same =
            |wanted: &Option<String>, there: &Option<String>| wanted.is_none() || wanted == there;
        same(&self.region, &other.region)
            && same(&self.zone, &other.zone)
            && same(&self.subzone, &other.subzone)
    }
}

impl fmt::Display for LocalPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        match self.range {
            Some((first, last)) if first == last => write!(f, "{first}")?,
            Some((first, last)) => write!(f, "{first}-{last}")?,
            None => f.write_str("*")?,
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            protocol => write!(f, "/{protocol}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Locality(locality) => write!(f, "locality:{locality}"),
        }
    }
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
