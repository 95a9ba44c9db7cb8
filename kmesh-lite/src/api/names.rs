//! What the agent asks DNS, and what it is told.

use super::{Failure, FailureKind};
use crate::model;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A name, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub name: String,
    pub kind: RecordKind,
    /// Of SRV records, whether IPv6 addresses of the hosts that they name are wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    A,
    Aaaa,
    /// With the addresses of the hosts that they name.
    Srv,
}

/// How names are resolved. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolving {
    /// Who is asked; empty for those of the host's resolv.conf.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<SocketAddr>,
    pub ttl_min: u64,
    pub ttl_max: u64,
}

/// `POST /v1/agent/names`: what the resolver said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamesReport {
    /// That of the duties that have the questions.
    pub revision: u64,
    pub findings: Vec<NameFinding>,
}

impl NamesReport {
    /// The most that one may have: some thousand records.
    pub const BYTES: usize = 512 * 1024;

    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            let error = format!("the body is no report of names: {error}");
            Failure::new(FailureKind::BadRequest, error)
        })
    }
}

/// What came of one question: records, or a reason why there are none; both, where the reason is about a part of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameFinding {
    /// Its place among the questions of the duties.
    pub question: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: u32,
    /// SRV records whose host could not be looked up: the addresses that it had in the answer before stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptRecord>,
    /// Why there are none, or why some are kept; else what is told is an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleKind>,
    /// In words.
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TroubleKind {
    /// The resolver says with authority that there is no such name, or no such record of it.
    Nothing,
    /// Nobody knows.
    Failure,
}

/// One address. Of an SRV record there are as many as its host has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub address: IpAddr,
    /// Of an SRV record, like the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// A number that stands for the host that it names, the same in every answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
}

/// An SRV record without the addresses of its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRecord {
    /// As that of a record.
    pub target: u32,
    /// Of which family the addresses are that could not be looked up.
    pub ipv6: bool,
    pub port: u16,
    pub weight: u16,
    pub priority: u16,
}

/// What is known of a question, as one process leaves it to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownName {
    pub name: String,
    pub kind: RecordKind,
    /// The last answer; empty if there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Record>,
    #[serde(default)]
    pub left_out: u32,
    /// Since when it says so, by CLOCK_MONOTONIC.
    #[serde(default)]
    pub since_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleKind>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub trouble_since_ns: u64,
    /// Whether it is about a part of the answer, and the rest is of now.
    #[serde(default)]
    pub in_part: bool,
}

/// A DNS name of endpoints, as `status` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameStatus {
    pub name: String,
    /// Whether its SRV records are asked for, and not its addresses.
    pub srv: bool,
    /// Services that have it among their endpoints.
    pub services: Vec<String>,
    /// What counts of the last answer; with the port, of SRV records. Empty if there was none.
    pub addresses: Vec<String>,
    /// Since when it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why there is no answer, or none that is newer. The last one stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    /// Whether `error` is about some hosts that SRV records name, and the rest is of now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_part: bool,
    /// Addresses that are no endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedAddress>,
    /// How many addresses there were beyond the most that count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

/// An address that a resolver gave and that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAddress {
    pub address: String,
    /// What it is.
    pub why: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<model::RecordKind> for RecordKind {
    fn from(kind: model::RecordKind) -> Self {
        match kind {
            model::RecordKind::A => Self::A,
            model::RecordKind::Aaaa => Self::Aaaa,
            model::RecordKind::Srv => Self::Srv,
        }
    }
}

impl From<RecordKind> for model::RecordKind {
    fn from(kind: RecordKind) -> Self {
        match kind {
            RecordKind::A => Self::A,
            RecordKind::Aaaa => Self::Aaaa,
            RecordKind::Srv => Self::Srv,
        }
    }
}

impl From<&model::Record> for Record {
    fn from(record: &model::Record) -> Self {
        let is_srv = record.port.is_some();
        Self {
            address: record.address,
            port: record.port,
            weight: is_srv.then_some(record.weight),
            priority: is_srv.then_some(record.rank),
            target: is_srv.then_some(record.target),
        }
    }
}

impl From<Record> for model::Record {
    fn from(record: Record) -> Self {
        Self {
            rank: record.priority.unwrap_or(0),
            address: record.address,
            port: record.port,
            weight: record.weight.unwrap_or(1),
            target: record.target.unwrap_or(0),
        }
    }
}

impl From<&model::Dns> for Resolving {
    fn from(dns: &model::Dns) -> Self {
        let milliseconds =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            resolvers: dns.resolvers.clone(),
            ttl_min: milliseconds(dns.ttl_min),
            ttl_max: milliseconds(dns.ttl_max),
        }
    }
}
