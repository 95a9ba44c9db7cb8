//! Endpoints by name: what is asked of DNS, and what it says.

use super::{Endpoint, Serving};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The one spelling of a DNS name: in lower case, and without the dot that may stand at the end.
pub fn dns_name(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// A question to DNS. Names are in lower case, and have no dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    pub name: Arc<str>,
    pub kind: RecordKind,
}

/// Which records of a name are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    A,
    Aaaa,
    /// With the addresses of the hosts that they name.
    Srv,
}

impl RecordKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.kind.as_str())
    }
}

/// Endpoints of a service that are known by a name: one for each of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEndpoints {
    pub name: Arc<str>,
    /// Whether it is the name of SRV records, which say ports and weights as well.
    pub is_srv: bool,
    /// What each is like. Its address stands for nothing.
    pub like: Endpoint,
}

impl NamedEndpoints {
    /// What has to be asked, where the service has clients of IPv6 addresses or not.
    pub fn questions(&self, has_v6_clients: bool) -> impl Iterator<Item = Question> {
        let kinds: &[RecordKind] = match (self.is_srv, has_v6_clients) {
            (true, _) => &[RecordKind::Srv],
            (false, true) => &[RecordKind::A, RecordKind::Aaaa],
            (false, false) => &[RecordKind::A],
        };
        kinds.iter().map(|kind| Question {
            name: Arc::clone(&self.name),
            kind: *kind,
        })
    }
}

/// Where an endpoint comes from that no file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfName {
    pub name: Arc<str>,
    /// The priority of its SRV record. Lower ones go first; 0 where there is no such record.
    pub rank: u16,
}

/// What the resolver says of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// As [`OfName::rank`].
    pub rank: u16,
    pub address: IpAddr,
    /// Of an SRV record.
    pub port: Option<u16>,
    /// Of an SRV record; 1 where there is none.
    pub weight: u16,
    /// Of an SRV record: a number that stands for the host that it names; 0 where there is none.
    pub target: u32,
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked; none for those of the host's resolv.conf.
    pub resolvers: Vec<SocketAddr>,
    /// A name is asked for again after its TTL, and not before this.
    pub ttl_min: Duration,
    /// And not later than this.
    pub ttl_max: Duration,
    /// How names of the mesh are served, if they are.
    pub serving: Option<Serving>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_secs(300),
            serving: None,
        }
    }
}

/// The places of endpoints whose SRV records stand by: of the records of a name, those of the lowest priority count
/// that has an endpoint that `takes` connections; those of the lowest at all, while none has.
pub fn standing_by(endpoints: &[Endpoint], takes: impl Fn(&Endpoint) -> bool) -> BTreeSet<usize> {
    let mut names: BTreeMap<&str, BTreeMap<u16, Vec<usize>>> = BTreeMap::new();
    for (place, endpoint) in endpoints.iter().enumerate() {
        if let Some(of_name) = &endpoint.of_name {
            let ranks = names.entry(&of_name.name).or_default();
            ranks.entry(of_name.rank).or_default().push(place);
        }
    }
    let mut standing_by = BTreeSet::new();
    for ranks in names.into_values().filter(|ranks| ranks.len() > 1) {
        let has_some = |places: &Vec<usize>| places.iter().any(|place| takes(&endpoints[*place]));
        let lowest = ranks.keys().next().copied();
        let used = ranks.iter().find(|(_, places)| has_some(places));
        let used = used.map(|(rank, _)| *rank).or(lowest);
        let others = ranks.into_iter().filter(|(rank, _)| Some(*rank) != used);
        standing_by.extend(others.flat_map(|(_, places)| places));
    }
    standing_by
}
