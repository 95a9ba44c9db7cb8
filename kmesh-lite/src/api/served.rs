//! How the names of the mesh are served, and where one of them leads.

use super::agent::ListenerStatus;
use super::explain::Explanation;
use super::zone::{QueryCount, ZoneRecords};
use serde::{Deserialize, Serialize};

/// How the names of the mesh are served, as `status` has it. What the agent says is told as of its last report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DnsStatus {
    /// What services are below.
    pub domain: String,
    /// Every address of `[dns] listen`.
    pub listeners: Vec<ListenerStatus>,
    /// How many names the mesh has.
    pub names: usize,
    /// Whether the agent answers from names that are not these ones: it has not been told yet, or is away.
    pub behind: bool,
    /// Who is asked for other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamStatus>,
    /// Questions by what came of them, since the agent began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryCount>,
    /// How many answers of upstreams are remembered.
    #[serde(default)]
    pub cached: u64,
    /// Whether questions to other DNS servers are captured; none where nobody wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<CaptureStatus>,
}

/// Whether questions that programs send to other DNS servers come to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// Those of which cgroups; empty for all whose connections are handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroups: Vec<String>,
    pub on: bool,
    /// Why they go where they are sent, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// One server that questions are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Address and port.
    pub address: String,
    /// Why the last question to it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when that is so; none before the first question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How many questions it was sent.
    pub sent: u64,
    /// How many of them it did not answer, or not well.
    pub failed: u64,
}

/// What `explain NAME:PORT` finds: the name, and what would become of a connect to its first addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedExplanation {
    pub name: NameExplanation,
    /// Empty without a port.
    pub explanations: Vec<Explanation>,
}

/// `GET /v1/name?name=NAME`: where a name of the mesh leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameExplanation {
    /// In lower case, without the dot at the end.
    pub name: String,
    /// The name of the zone that it matches: itself, or a wildcard.
    pub matches: String,
    pub service: String,
    /// Whether its addresses are those of endpoints.
    pub headless: bool,
    /// Ports of the service: `80/tcp`.
    pub ports: Vec<String>,
    /// What is answered.
    pub records: ZoneRecords,
    /// In words.
    pub text: String,
}
