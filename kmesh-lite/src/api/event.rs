//! What happens to connections.

use super::now;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A line of `GET /v1/trace` and of the access log. What is not known, and what an event does not have, is
/// left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionEvent {
    /// When it was.
    pub time: String,
    /// `decided`, `rejected`, `established`, `failed` or `closed`; `denied` for what arrived at this host and was
    /// refused by a policy, or would have been; `lost` for a line that says how many events are missing.
    pub event: Cow<'static, str>,
    /// What was decided, why it was rejected, or how it ended: the words of `outcomes`, `failed` and `ended`
    /// in `GET /v1/status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Cow<'static, str>>,
    /// The same for people.
    pub text: String,
    /// How many events are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// SO_COOKIE of the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
    /// `tcp` or `udp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Cow<'static, str>>,
    /// The client's own address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The systemd unit of the host that the client ran in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The path of its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process that connected; it may have passed the socket on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The name of the thread that connected, as the kernel has it: 15 bytes at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Address and port that the program asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
    /// The authorization policy that refused it; where it was not refused, the one that would have if it were not in
    /// audit mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When its first segment left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
}

impl ConnectionEvent {
    /// In place of so many events that are missing.
    pub fn loss(lost: u64) -> Self {
        Self {
            time: now(),
            event: "lost".into(),
            text: format!("lost {lost} events"),
            lost: Some(lost),
            ..Self::default()
        }
    }

    /// As a line of JSON.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        Ok(text)
    }

    /// As fields of the journal, without the words for people.
    pub fn fields(&self) -> Result<Vec<(String, String)>, serde_json::Error> {
        let facts = match serde_json::to_value(self)? {
            Value::Object(facts) => facts,
            _ => Map::new(),
        };
        let facts = facts.into_iter().filter(|(name, _)| name != "text");
        let fields = facts.map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            (format!("KMESH_{}", name.to_uppercase()), text)
        });
        Ok(fields.collect())
    }
}

/// How the access log and the readers of events are, in `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// `journal` or the path of the file; none where nothing is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Lines of connections that were written since `[access_log]` was last changed.
    pub written: u64,
    /// Lines that were left out by the rate limit, or because writing was too slow or failed.
    pub lost: u64,
    /// Events that the kernel's buffer had no room for.
    pub lost_in_kernel: u64,
    /// Why nothing can be written at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Readers of `GET /v1/trace`.
    pub readers: usize,
    /// Readers of `GET /v1/trace/dns`.
    pub dns_readers: usize,
}
