//! Reloading: what it is asked with, and what is applied until somebody confirms it.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What `POST /v1/reload` may be asked with; an empty body is none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// What is applied is taken back after so many seconds, unless somebody confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u64>,
    /// The SSH connection that whoever asks is at the end of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// An SSH connection to this host, as SSH_CONNECTION says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Its end on this host.
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// A configuration that is applied until somebody confirms it, or that nobody confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialStatus {
    pub state: TrialState,
    /// When it was asked for.
    pub begun: String,
    /// When it ends.
    pub until: String,
    /// While it is pending: how many seconds are left, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// It waits to be confirmed.
    Pending,
    /// Nobody confirmed it: the state before counts, until the file changes or a reload is asked for.
    TakenBack,
}

/// `POST /v1/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// When the reload was asked for that is confirmed.
    pub begun: String,
    /// How many seconds were left, rounded up.
    pub left_s: u64,
    /// How it goes, in one line.
    pub verdict: String,
}

/// A policy because of which a configuration is not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockoutStatus {
    pub policy: String,
    /// What it would cut off: `session`, a connection to this host that stands, or `probe`, how the agent probes an
    /// endpoint that is on this host.
    pub way: String,
    /// The service of the endpoint that is probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its end on this host.
    pub local: String,
    /// The other end; of a probe, the address without a port.
    pub peer: String,
    pub text: String,
}
