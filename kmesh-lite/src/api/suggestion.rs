//! Policies that would allow what was seen.

use serde::{Deserialize, Serialize};

/// `GET /v1/policies/suggestion`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// When it was made.
    pub at: String,
    /// Since when it is looked who connects. What was before is counted, and has no times.
    pub since: String,
    /// Only what was seen within so many seconds; none: everything that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_seconds: Option<u64>,
    /// Whether connections are counted. If not, those that were open at a look are all that is known.
    pub accounting: bool,
    /// Policies with action `allow`.
    pub policies: Vec<SuggestedPolicy>,
    /// Services to which nobody was seen to connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<String>,
    /// Connections that no policy can name the client of. They would be refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<Uncovered>,
    /// Clients of services that there was no room for.
    #[serde(default)]
    pub left_out: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestedPolicy {
    /// One that no policy of the mesh has.
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Ports of this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<SeenPeer>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<SeenPeer>>,
}

/// A client or a source that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPeer {
    /// As a policy names it.
    pub name: String,
    /// How many connections of it are known.
    pub connections: u64,
    /// When one was seen for the first time, and for the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Connections to a service whose clients have no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    pub service: String,
    pub connections: u64,
    /// Why, in words.
    pub why: String,
}
