//! What would happen if something were down.

use serde::{Deserialize, Serialize};

/// `POST /v1/simulate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    /// What is down, each `KEY=VALUE`: a `network`, `region`, `zone`, `subzone`, `node` or `cluster`, an `endpoint` or a
    /// `waypoint`.
    pub down: Vec<String>,
}

/// What each service would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// Endpoints that would be down, of those that take connections now.
    pub endpoints_down: usize,
    /// Endpoints that would get more connections than they are meant to bear.
    pub endpoints_overloaded: usize,
    /// Those that would do something else than now come first.
    pub services: Vec<SimulatedService>,
}

/// A service now, and then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SimulatedService {
    pub name: String,
    /// Whether anything would be otherwise.
    pub changes: bool,
    /// Whether connects would be refused, because the policy leaves no endpoint.
    pub refuses: bool,
    /// Whether endpoints would be used although they are down, because all are (`on_all_down = "use-all"`).
    #[serde(default)]
    pub uses_all: bool,
    /// The waypoint that takes its connections, if it would be down: connects fail there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waypoint_down: Option<String>,
    pub endpoints: Vec<SimulatedEndpoint>,
}

/// An endpoint that takes connections now, or would.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SimulatedEndpoint {
    pub endpoint: String,
    /// `IPv4` or `IPv6`, where clients of the two families share endpoints otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<String>,
    pub locality: String,
    /// Whether it would be down.
    pub down: bool,
    /// Its share of new connections now, from 0 to 1.
    pub share: f64,
    /// And then.
    pub share_then: f64,
    /// The share that it is meant to bear at most: that of its weight among the endpoints of its priority, times 1.4, or
    /// `overprovision` of the service.
    pub bears: f64,
    /// Whether it would get more than that.
    pub overloaded: bool,
}
