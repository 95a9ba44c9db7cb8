//! What the operator wants of endpoints, beside what the file says.

use super::{EndpointHealth, OrderStatus};
use serde::{Deserialize, Serialize};

/// `POST /v1/order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// `SERVICE/ENDPOINT`, or `ENDPOINT` for every service that has it: an address, with a port or without, or the
    /// name of an entry of `[endpoints]`, or a DNS name, with `@` and an address for one of its addresses.
    pub endpoint: String,
    pub change: Change,
}

/// What is to be so from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// No new connections.
    Drain,
    /// No new connections, and no probes.
    Maintenance,
    /// As the file says; where the file says one of these, it is ready nevertheless.
    Ready,
    /// Another weight; none for that of the file.
    Weight(Option<u32>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Each endpoint that was meant.
    pub endpoints: Vec<OrderedEndpoint>,
    /// Why it will be forgotten when the daemon ends, if that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<String>,
}

/// What the operator wants of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointOrder {
    pub service: String,
    /// As its status calls it.
    pub endpoint: String,
    /// Whether the file has the endpoint. Where it has not, the order counts as soon as it has.
    pub present: bool,
    pub order: OrderStatus,
}

/// An endpoint, and how it stands now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedEndpoint {
    pub service: String,
    /// As its status calls it.
    pub endpoint: String,
    /// None where it is as the file says, and not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<EndpointHealth>,
    /// Whether the file does not have it, so that an order of it could only be taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// What is still wanted of one that the file does not have, or of a DNS name that has no address yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderStatus>,
}
