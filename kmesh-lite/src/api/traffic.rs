//! What becomes of connections, as `top` asks for it.

use super::TrafficStatus;
use serde::{Deserialize, Serialize};

/// `GET /v1/traffic`: sums since the programs were loaded. Two of them, and the time between, are rates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficSums {
    /// When they were read, in seconds of a clock that only goes forward.
    pub at_seconds: f64,
    /// By name; those without a connection as well.
    pub services: Vec<ServiceTraffic>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceTraffic {
    pub name: String,
    /// Connects that were decided for it.
    pub connects: u64,
    pub traffic: TrafficStatus,
    /// How many connections took how long to stand: number `n` counts those that took at most 2^(n-20)
    /// seconds, and longer than the one before says; the last one all that took longer. Those at the end
    /// that count nothing are left out.
    pub connect_times: Vec<u64>,
    /// Those that connections were made to.
    pub endpoints: Vec<NamedTraffic>,
    /// Units of clients; `other` is all that are no unit's. Cgroups that are gone are left out: a unit that was
    /// restarted begins anew.
    pub clients: Vec<NamedTraffic>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedTraffic {
    pub name: String,
    pub traffic: TrafficStatus,
}
