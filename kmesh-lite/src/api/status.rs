//! How the mesh is.

use super::{
    AgentStatus, Departed, DnsStatus, EndpointOrder, Failure, FailureKind, Findings, LockoutStatus,
    LogStatus, NameStatus, TrialStatus,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub state: State,
    /// The state in one line.
    pub verdict: String,
    /// Why the last pass failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// None where there is no daemon to read it.
    pub config: Option<ConfigStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<LastReload>,
    /// What waits to be confirmed, or was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// Policies because of which the file is not applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lockouts: Vec<LockoutStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pass: Option<LastPass>,
    pub datapath: DatapathStatus,
    /// Endpoints that were removed with `on_remove` "drain" or "kill", or of services that count their connections, and
    /// still have connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub departed: Vec<Departed>,
    /// What the operator wants of endpoints, beside what the file says; not known without a daemon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<EndpointOrder>,
    /// DNS names of endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameStatus>,
    /// The access log and the readers of events; none without a daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<LogStatus>,
    /// None if it is not running.
    pub daemon: Option<About>,
    /// None if there is neither one nor anything for it to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
    /// How the names of the mesh are served; none where they are not, or without a daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The kernel does what the file says.
    Routing,
    /// No usable file so far.
    Waiting,
    /// The file is missing or has errors, would lock somebody out or was not confirmed; the last good state stays.
    Keeping,
    /// The file is fine but could not be applied; it is tried again.
    Failing,
    /// The file is fine and has no services.
    Empty,
    /// The file is fine, but no cgroup is there to be captured: programs are not routed.
    Uncaptured,
    /// There is no daemon; the kernel goes on with what it has.
    Unattended,
}

/// The file and its drop-ins as of the last time they were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    #[serde(serialize_with = "super::path::one")]
    pub path: PathBuf,
    pub present: bool,
    /// Every file that was read.
    #[serde(serialize_with = "super::path::all")]
    pub files: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Findings>,
}

/// The last time the file was read, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    pub at: String,
    /// `start`, `file`, `signal`, `request`, `timer`, or `unconfirmed` where it was taken back.
    pub trigger: String,
    pub applied: bool,
    /// What changed, or why it was not applied.
    pub summary: Vec<String>,
}

/// The last time the kernel's tables were compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastPass {
    pub at: String,
    pub operations: usize,
    pub drift: Vec<String>,
    pub took_ms: f64,
}

/// What the kernel holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatapathStatus {
    /// Cgroups that the programs are attached to.
    pub attached: Vec<String>,
    /// Names of `[capture] cgroups` that mean no cgroup now; they are attached to when they do.
    #[serde(default)]
    pub absent: Vec<String>,
    /// Programs that are treated specially, by the file's names for them.
    #[serde(default)]
    pub callers: Vec<CallerStatus>,
    pub services: Vec<ServiceStatus>,
    /// Authorization policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyStatus>,
    /// Connects by what became of them.
    pub outcomes: Vec<Counter>,
    pub capacity: Vec<TableUse>,
}

/// An authorization policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    pub name: String,
    /// `allow` or `deny`.
    pub action: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// Connects of programs of this host that it refused; in audit mode those that it would have.
    pub connects: u64,
    /// The same of what arrived: connections, and datagrams to sockets that are not connected. A segment that is sent again,
    /// or that comes after its connection is over, counts again.
    #[serde(default)]
    pub arrivals: u64,
    /// When it was seen that it had refused one; not known before the daemon's first look, and without a daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// A unit or cgroup of `[capture] bypass` or of a waypoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerStatus {
    pub name: String,
    /// `bypass` or `waypoint`.
    pub treatment: String,
    /// Its cgroups at the moment; none if it does not run.
    pub cgroups: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    /// Address, port and protocol that clients connect to.
    pub frontends: Vec<String>,
    pub policy: String,
    /// Leading scopes first.
    pub prefer: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
    /// Connects since the programs were loaded.
    pub connects: u64,
    /// Connections whose sockets programs hold now, as far as they are listed.
    #[serde(default)]
    pub open_connections: u64,
    /// What became of its connections, where they are accounted.
    #[serde(default)]
    pub traffic: TrafficStatus,
    /// Whether connects to one of its addresses are refused, because the policy leaves no endpoint.
    #[serde(default)]
    pub refuses: bool,
    /// Whether its endpoints are used although they are down, because all are (`on_all_down = "use-all"`).
    #[serde(default)]
    pub uses_all: bool,
    /// Nearest first; those without endpoints are left out.
    pub priorities: Vec<PriorityStatus>,
}

/// What became of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    pub established: u64,
    /// Connections that stand now.
    pub active: u64,
    /// Attempts that never stood, by reason: `refused`, `timed_out`, `unreachable`, `reset`, `aborted` by
    /// the program, `killed` by the daemon for the operator, `not_sent`, `other`.
    #[serde(default)]
    pub failed: BTreeMap<String, u64>,
    /// Connections that stood and have ended: `closed`, or by such a reason.
    #[serde(default)]
    pub ended: BTreeMap<String, u64>,
    /// Of connections that have ended: what peers acknowledged, without headers for waypoints.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Segments sent again.
    pub retransmits: u64,
}

impl TrafficStatus {
    /// Attempts that never stood.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PriorityStatus {
    pub priority: usize,
    /// Whether new connections of ordinary callers go to this priority. Where the service has a waypoint
    /// they go there instead.
    pub in_use: bool,
    pub endpoints: Vec<EndpointStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The DNS name that it was found by, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The endpoint as the file could name it: the address, with ports if it has its own.
    pub endpoint: String,
    pub address: String,
    /// Ports of the service, as `80/tcp`, behind which the endpoint has its own port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// `region/zone/subzone`; empty if unknown.
    pub locality: String,
    pub weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<String>,
    /// Connects that the service sent here since it has the endpoint, through the backend's waypoint or
    /// not. Those of a waypoint count too.
    pub connects: u64,
    /// Those of them whose sockets programs hold now, as far as they are listed.
    #[serde(default)]
    pub open_connections: u64,
    /// What became of them, where they are accounted.
    #[serde(default)]
    pub traffic: TrafficStatus,
    /// What is known of it; none where it is not checked, and the operator wants nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<EndpointHealth>,
}

/// How an endpoint stands, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointHealth {
    /// `healthy`, `unhealthy`, `unknown` (not probed yet), `draining`, `maintenance`, `ejected`, or `ready` where it is
    /// not checked.
    pub state: String,
    /// Whether it takes new connections, as far as this goes.
    pub usable: bool,
    /// Since when it is so, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What the probe saw that decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the operator wants, in place of what the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderStatus>,
}

impl EndpointHealth {
    /// Whether somebody wants it to take no new connections.
    pub fn is_meant(&self) -> bool {
        matches!(self.state.as_str(), "draining" | "maintenance")
    }
}

/// What the operator wants of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// `ready`, `drain` or `maintenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Who said so.
    pub uid: u32,
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    pub name: String,
    pub count: u64,
}

/// Rows in use of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// Also the key under `[limits]`.
    pub table: String,
    pub used: u32,
    /// How many rows the table that there is has room for. A mesh that needs more gets a larger one, up to
    /// the limit.
    pub room: u32,
    /// What the file allows; none where no daemon tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub version: String,
    pub commit: String,
    pub layout_version: u32,
    pub pid: u32,
    pub started: String,
}

impl DatapathStatus {
    /// Leaves out every service but one, if one is asked for.
    pub fn show_only(&mut self, name: Option<&str>) -> Result<(), Failure> {
        let Some(name) = name else { return Ok(()) };
        self.services.retain(|service| service.name == name);
        if self.services.is_empty() {
            let error = format!("there is no service {name:?}");
            return Err(Failure::new(FailureKind::NotFound, error));
        }
        Ok(())
    }

    /// Number of endpoints over all services.
    pub fn endpoints(&self) -> usize {
        self.services
            .iter()
            .flat_map(|service| &service.priorities)
            .map(|priority| priority.endpoints.len())
            .sum()
    }
}
