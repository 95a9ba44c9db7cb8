//! Living connections.

use serde::{Deserialize, Serialize};

/// `GET /v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Oldest first.
    pub connections: Vec<ConnectionStatus>,
    /// How many may be listed at a time. More of them work, but are not in the list.
    pub limit: u32,
    /// Connections since the programs were loaded that found no room in the list.
    pub unlisted: u64,
}

/// A connection whose socket some program holds. What the daemon cannot tell is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// SO_COOKIE of its socket, which `ss -e` shows after `sk:` in hexadecimal.
    pub cookie: u64,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Address and port that the program asked for.
    pub original_destination: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The endpoint as the file could name it; none where the waypoint of the service chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
    /// The systemd unit of the host that the program ran in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The path of its cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    pub uid: u32,
    /// The process that connected; it may have passed the socket on.
    pub pid: u32,
    pub age_seconds: f64,
}
