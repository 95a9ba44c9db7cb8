//! What the kernel would do with a connect.

use super::Row;
use serde::{Deserialize, Serialize};

/// `GET /v1/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Address and port that were asked about.
    pub address: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The address that it was asked for as one that connects to this host; none where a program of this host connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub verdict: VerdictKind,
    /// Name of the counter that such a connect adds to; none for what is not ours.
    pub outcome: Option<String>,
    /// How many connects of this host had that outcome, since the programs were loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_count: Option<u64>,
    /// The verdict in words.
    pub text: String,
    pub steps: Vec<Step>,
    /// The endpoint that the client keeps (`affinity`), if it is known who that is, and it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptEndpoint>,
    /// Where a connect can end, with the share of each. Empty unless `verdict` is `redirect`.
    pub candidates: Vec<Candidate>,
    /// Whether these are used although they are down, because all endpoints are (`on_all_down = "use-all"`).
    #[serde(default)]
    pub uses_all: bool,
    /// Endpoints of the service where a connect cannot end now.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

/// The endpoint of a client that keeps one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEndpoint {
    /// Address and port.
    pub endpoint: String,
    /// The DNS name that it was found by, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// Until when, if the client does not connect again.
    pub until: String,
    /// Whether the connect goes there: it does unless the endpoint takes none now.
    pub taken: bool,
}

/// An endpoint that a connect cannot end at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Address and port of the endpoint; a DNS name that has not resolved.
    pub endpoint: String,
    /// The DNS name that it was found by, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    Pass,
    Redirect,
    Refuse,
}

/// One step of the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The table or rule: `address`, `frontend`, `service`, `client`, `endpoint`, `backend`, `waypoint`,
    /// `authorization`; `destination` and `source` of what arrives.
    pub name: String,
    pub text: String,
    /// What was found there.
    #[serde(default)]
    pub fields: Row,
}

/// One possible end of a connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Address and port of the endpoint; of the waypoint where that chooses the endpoint.
    pub endpoint: String,
    /// The DNS name that it was found by, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    pub priority: usize,
    pub weight: u32,
    /// How likely the next connect ends there, 0 to 1.
    pub share: f64,
    /// How many connects this rule has sent there so far; of the service, where its waypoint chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connects: Option<u64>,
    /// Why it is down; it is used nevertheless, because all are (`on_all_down = "use-all"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<String>,
    /// How many connections of this host to it are open, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<u32>,
    /// How many may be open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// The proxy that takes the connection in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
}
