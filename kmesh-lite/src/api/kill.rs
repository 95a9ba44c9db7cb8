//! Connections of drained endpoints that the operator wants to end.

use serde::{Deserialize, Serialize};

/// `POST /v1/kill`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// As that of an order. No endpoint that is meant may take new connections.
    pub endpoint: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Each endpoint that was meant.
    pub endpoints: Vec<KilledEndpoint>,
}

/// An endpoint, and what became of its connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KilledEndpoint {
    pub service: String,
    /// As its status calls it.
    pub endpoint: String,
    /// Connections that were ended.
    pub killed: u64,
    /// Those that go on, because the daemon does not reach their sockets.
    pub out_of_reach: u64,
}
