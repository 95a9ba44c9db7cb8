//! What applying would change, and what a reload has changed.

use super::{EndpointOrder, Findings, LockoutStatus, Session, TrialStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `POST /v1/plan` is asked about. The daemon opens nothing that a caller names: whoever asks
/// sends what it has read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The main file first, then its drop-ins by name. None: the daemon's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<FileText>>,
    /// The SSH connection that whoever asks is at the end of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// A file of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileText {
    /// What problems call it.
    pub path: String,
    pub text: String,
}

/// `POST /v1/plan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanText {
    /// In words, one line for each thing that changes.
    pub summary: Vec<String>,
    /// Every operation, in the order in which it would be done. Empty: nothing to do.
    pub operations: Vec<String>,
    /// Names of `[capture] cgroups` that mean no cgroup now; they are attached to when they do.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Endpoints with open connections that would take no new ones. What is open goes on, unless `on_remove` is `kill`.
    #[serde(default)]
    pub leaving: Vec<Leaving>,
    /// What the operator wants of endpoints, beside what the file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<EndpointOrder>,
    /// Policies because of which a reload would refuse it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lockouts: Vec<LockoutStatus>,
    /// Open connections that would be refused if they were made after the change, and are not now; by policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denying>,
}

/// What a policy would have against connections that are open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denying {
    pub policy: String,
    /// `enforce`, or `audit`: then it would only count them.
    pub mode: String,
    pub open_connections: u64,
    /// Whether they are ended (`enforce_existing`). Otherwise they go on.
    pub ends: bool,
    /// Some of them, oldest first.
    pub connections: Vec<DeniedConnection>,
}

/// An open connection that a policy would refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedConnection {
    /// Whether it arrived at this host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inbound: bool,
    /// The unit of the client, or its cgroup; of one that arrived, the address and port that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The service; of one that arrived, the address of this host.
    pub to: String,
    /// What the program asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_destination: Option<String>,
    /// SO_COOKIE of its socket.
    pub cookie: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// An endpoint that is about to be removed, or to be drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    pub service: String,
    /// The endpoint as the file could name it.
    pub endpoint: String,
    pub open_connections: u64,
    /// What becomes of them where the endpoint is removed: `keep`, `drain` or `kill`. None where it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_remove: Option<String>,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Number of operations; 0 if the kernel held all of it already.
    pub operations: usize,
    pub summary: Vec<String>,
    /// How many connections that stood were ended because policies with `enforce_existing` allow them no more, by policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<String, u64>,
    /// What differed from what the daemon had last written, before this pass.
    pub drift: Vec<String>,
    /// Names of `[capture] cgroups` that mean no cgroup now; they are attached to when they do.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Reading the kernel's tables, planning and applying.
    pub took_ms: f64,
    /// Where it has to be confirmed, or something before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// Warnings and notes on the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Findings>,
}
