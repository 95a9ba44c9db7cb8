//! What the agent and the daemon tell each other.

use super::health::{Check, Target};
use super::names::{Question, Resolving};
use super::zone::Serving;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// `GET /v1/agent`: what the agent is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duties {
    /// Another one whenever something else is to be done, and after every start of the daemon.
    pub revision: u64,
    /// Where metrics are to be served.
    pub metrics: Vec<SocketAddr>,
    /// How targets are checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// What is checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// What is asked of DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
    /// How; where anything is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolving: Option<Resolving>,
    /// How names of the mesh are served; none where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Serving>,
}

/// `POST /v1/agent`: how the agent gets on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentReport {
    pub metrics: Vec<ListenerReport>,
}

/// One address at which the agent was to listen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerReport {
    pub listen: SocketAddr,
    /// Why it does not; none where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is known of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// None if it has not been heard of since the daemon began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When it reported for the last time. It does so at least twice a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<String>,
    /// Whether that is so long ago that it must have ended, or hangs.
    pub away: bool,
    /// Every address of `[metrics] listen`.
    pub metrics: Vec<ListenerStatus>,
    /// How many sockets it probes.
    #[serde(default)]
    pub targets: usize,
    /// How many DNS names it looks up.
    #[serde(default)]
    pub names: usize,
}

/// One address of `[metrics] listen`, or of `[dns] listen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub listen: String,
    /// Whether the agent answers there, as far as it says.
    pub serving: bool,
    /// Why it does not; it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
