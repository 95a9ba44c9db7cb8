//! The names of the mesh, as the daemon gives them to the agent, and what the agent says of serving them.

use super::agent::ListenerReport;
use super::{Failure, FailureKind};
use crate::{model, zone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How names are served, as the duties have it. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Where questions are answered, over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The zone of the mesh: all names below it are ours, whether there is one or not. In lower case, without the dot at the
    /// end.
    pub domain: String,
    /// Of records of the zone; whole seconds.
    pub ttl_ms: u64,
    /// For how long it may be remembered that there is no such name or record; whole seconds.
    pub negative_ttl_ms: u64,
    /// Who is asked for all other names; empty for those of the host's resolv.conf.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<SocketAddr>,
    pub order: UpstreamOrder,
    /// For one try of one of them.
    pub timeout_ms: u64,
    /// How often each of them is asked one question at most.
    pub attempts: u32,
    /// How many of their answers are remembered; none if 0.
    pub cache: usize,
    /// Whether questions to other servers come here as long as the daemon hears once a second that they are answered.
    #[serde(default)]
    pub capture: bool,
    /// Whether somebody wants to know what becomes of each question: it is told by `POST /v1/agent/dns/queries`.
    #[serde(default)]
    pub trace: bool,
}

/// Which upstream is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamOrder {
    /// The first, and each other one when those before it fail.
    InOrder,
    /// All at once, of which the first good answer counts.
    Race,
}

/// `GET /v1/agent/zone?since=REVISION`: the names of the mesh. The answer waits, for a while, until there is another revision
/// than `since`; without `since` it is given at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Another one whenever a name is other than before, and after every start of the daemon.
    pub revision: u64,
    /// The revision to which the names are a difference; they are all that there are if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// In lower case, without the dot at the end, in full: `payments.mesh`, `*.shop.internal`, `_http._tcp.payments.mesh`,
    /// `1.0.96.10.in-addr.arpa`. None of a name of a difference: it is gone.
    pub names: BTreeMap<String, Option<ZoneRecords>>,
}

/// What a name has. One that has nothing exists all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ZoneRecords {
    /// A and AAAA. Those of one list are equally good, and are given in another order each time; lists stay in order: the first
    /// is nearest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Vec<IpAddr>>,
    /// SRV.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Srv>,
    /// PTR: a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// A name, whose addresses the zone has as well.
    pub target: String,
}

/// `POST /v1/agent/dns`: how serving gets on. Sent when a listener or an upstream is other than before, and twice a minute, or every
/// second where questions are captured. Numbers are sums since the agent began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsReport {
    /// Each address of `listen`. It serves there if both UDP and TCP do.
    pub listeners: Vec<ListenerReport>,
    /// Which revision of the zone it answers from; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<u64>,
    /// Those that are asked now, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamReport>,
    /// What was asked, and what came of it; without those that are 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryCount>,
    /// How many answers of upstreams are remembered.
    #[serde(default)]
    pub cached: u64,
    /// Whether some upstream answers.
    #[serde(default)]
    pub forwards: bool,
}

impl DnsReport {
    /// The most that one may have.
    pub const BYTES: usize = 64 * 1024;

    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            let error = format!("the body is no report of DNS: {error}");
            Failure::new(FailureKind::BadRequest, error)
        })
    }
}

/// One server that questions are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamReport {
    pub address: SocketAddr,
    /// Why the last question to it failed; none if it was answered, or nothing has been asked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when that is so, by CLOCK_MONOTONIC; none before the first question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ns: Option<u64>,
    /// How many questions it was sent.
    #[serde(default)]
    pub sent: u64,
    /// How many of them it did not answer, or not well.
    #[serde(default)]
    pub failed: u64,
}

/// How many questions of one kind came to one end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryCount {
    pub transport: Transport,
    pub kind: QueryKind,
    pub outcome: QueryOutcome,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
}

/// Which records were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryKind {
    A,
    Aaaa,
    Srv,
    Ptr,
    /// Other ones, or it could not be read which.
    Other,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryOutcome {
    /// The zone has such records.
    Answered,
    /// The zone has the name, and no such records.
    Nodata,
    /// The zone has no such name.
    Nxdomain,
    /// An upstream answered, whatever it said.
    Forwarded,
    /// The same, from what is remembered.
    Cached,
    /// No upstream answered.
    Failed,
    /// It is of a kind that is not answered here (REFUSED, NOTIMP, BADVERS).
    Refused,
    /// It is no question (FORMERR, or nothing).
    Malformed,
    /// There was no room for it.
    Dropped,
}

impl Transport {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl QueryOutcome {
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Nodata,
        Self::Nxdomain,
        Self::Forwarded,
        Self::Cached,
        Self::Failed,
        Self::Refused,
        Self::Malformed,
        Self::Dropped,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Nodata => "nodata",
            Self::Nxdomain => "nxdomain",
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Dropped => "dropped",
        }
    }
}

impl From<&model::Serving> for Serving {
    fn from(serving: &model::Serving) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            listen: serving.listen.clone(),
            domain: serving.domain.clone(),
            ttl_ms: milliseconds(serving.ttl),
            negative_ttl_ms: milliseconds(serving.negative_ttl),
            upstreams: serving.upstreams.clone(),
            order: match serving.order {
                model::UpstreamOrder::InOrder => UpstreamOrder::InOrder,
                model::UpstreamOrder::Race => UpstreamOrder::Race,
            },
            timeout_ms: milliseconds(serving.timeout),
            attempts: serving.attempts,
            cache: serving.cache as usize,
            capture: serving.capture.is_some(),
            trace: false,
        }
    }
}

impl From<&zone::Extract> for Zone {
    fn from(extract: &zone::Extract) -> Self {
        let names = extract.names();
        let names = names.map(|(name, records)| {
            let records = records.map(|records| ZoneRecords::from(&**records));
            (name.to_string(), records)
        });
        Self {
            revision: extract.revision,
            since: extract.since,
            names: names.collect(),
        }
    }
}

impl From<&zone::NameRecords> for ZoneRecords {
    fn from(records: &zone::NameRecords) -> Self {
        let services = records.services.iter().map(|it| Srv {
            priority: it.priority,
            weight: it.weight,
            port: it.port,
            target: it.target.to_string(),
        });
        Self {
            addresses: records.addresses.clone(),
            services: services.collect(),
            pointer: records.pointer.as_deref().map(str::to_owned),
        }
    }
}
