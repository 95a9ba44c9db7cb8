//! Named sets of frontends and endpoints with one policy.

use super::slots::slots;
use super::{
    Balance, ClientsBy, Eject, Endpoint, Name, NamedEndpoints, OnRemove, Policy, Protocol, Scope,
};
use kmesh_lite_common::{EachClient, Picking};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

/// A service. Lists are sorted and without repetition, so that the order of a file cannot matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub vips: Vec<Vip>,
    /// DNS names, in lower case, without the dot at the end; `*.shop.internal` is every name below it.
    pub hostnames: Vec<String>,
    /// Whether its DNS names lead to endpoints, and not to virtual addresses.
    pub headless: bool,
    pub ports: Vec<PortMapping>,
    /// What ports are called in DNS, where the file says that.
    pub port_names: BTreeMap<(Protocol, u16), Box<str>>,
    pub policy: Policy,
    pub balance: Balance,
    /// How clients are told apart, where that matters.
    pub clients_by: ClientsBy,
    /// How many slots clients are spread over by their hash, at least; none for as many as are good for its endpoints.
    pub hash_slots: Option<NonZeroU32>,
    /// How many connections of this host to the service may be open.
    pub max_connections: Option<NonZeroU32>,
    pub connects_per_second: Option<NonZeroU32>,
    /// How many connects of one unit to it.
    pub client_connects_per_second: Option<NonZeroU32>,
    /// For how long after its last connect a client keeps its endpoint.
    pub affinity: Option<Duration>,
    /// Empty under `random`.
    pub prefer: Vec<Scope>,
    pub waypoint: Option<Name>,
    pub on_all_down: OnAllDown,
    /// A priority takes all connections while so many hundredths of its usable weight are all of its weight; what it
    /// cannot take goes to the next one. None: the nearest priority that has a usable endpoint takes all.
    pub overprovision: Option<u32>,
    /// How long an endpoint that comes back takes to get all of its share.
    pub slow_start: Option<Duration>,
    /// None: whatever becomes of connections.
    pub eject: Option<Eject>,
    /// By address and ports.
    pub endpoints: Vec<Endpoint>,
    /// What else endpoints come from.
    pub named: Vec<NamedEndpoints>,
    pub on_remove: OnRemove,
}

/// What becomes of connections while no endpoint that the policy allows is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnAllDown {
    #[default]
    Refuse,
    /// Endpoints that probes or connections found to be down are used as if they were not.
    UseAll,
}

/// The ways in which the endpoints of a service have ports of their own. Two ports of the service share a
/// column if each endpoint has its own port behind both, the same one, or behind none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The column of each port of the service, in order.
    of_port: Vec<usize>,
    /// One port of each column, by its place among the ports of the service.
    example: Vec<usize>,
}

impl Columns {
    /// How many there are; never none.
    pub fn count(&self) -> usize {
        self.example.len().max(1)
    }
}

impl Service {
    /// The columns of the ports of the endpoints. Where no endpoint has a port of its own there is one.
    pub fn columns(&self) -> Columns {
        let own: Vec<_> = self
            .endpoints
            .iter()
            .filter(|it| !it.ports.is_empty())
            .collect();
        let mut known: BTreeMap<Vec<Option<u16>>, usize> = BTreeMap::new();
        let mut columns = Columns {
            of_port: Vec::with_capacity(self.ports.len()),
            example: Vec::new(),
        };
        for (place, mapping) in self.ports.iter().enumerate() {
            let ports = own.iter().map(|endpoint| endpoint.own_port(mapping));
            let column = *known.entry(ports.collect()).or_insert_with(|| {
                columns.example.push(place);
                columns.example.len() - 1
            });
            columns.of_port.push(column);
        }
        columns
    }

    /// How an endpoint is picked. Connections are counted where something depends on how many are open.
    pub fn picking(&self) -> Picking {
        let mut endpoints = self.endpoints.iter();
        let counts = self.balance == Balance::LeastConnections
            || self.max_connections.is_some()
            || endpoints.any(|endpoint| endpoint.max_connections.is_some());
        let number = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
        Picking::new(
            self.balance,
            self.clients_by,
            counts,
            number(self.max_connections),
            number(self.connects_per_second),
        )
        .with_clients(&self.each_client())
    }

    /// What the service asks of each client.
    pub fn each_client(&self) -> EachClient {
        let affinity = self.affinity.map_or(0, |time| time.as_millis());
        let connects = self.client_connects_per_second.map_or(0, NonZeroU32::get);
        EachClient::new(u32::try_from(affinity).unwrap_or(u32::MAX), connects)
    }

    /// Each port with its column.
    pub fn ports_by_column<'a>(
        &'a self,
        columns: &'a Columns,
    ) -> impl Iterator<Item = (&'a PortMapping, usize)> {
        self.ports.iter().zip(columns.of_port.iter().copied())
    }

    /// The own ports of an endpoint by column; empty if it has none.
    pub fn own_ports(&self, columns: &Columns, endpoint: &Endpoint) -> Vec<Option<u16>> {
        if endpoint.ports.is_empty() {
            return Vec::new();
        }
        let examples = columns
            .example
            .iter()
            .filter_map(|place| self.ports.get(*place));
        examples.map(|port| endpoint.own_port(port)).collect()
    }

    /// Over how many slots clients are spread by their hash.
    pub fn slots(&self) -> u32 {
        slots(self.endpoints.len(), self.hash_slots)
    }

    /// Rows that the service takes in the table of endpoints at most: one for each endpoint and column, or all slots for
    /// each set of endpoints that are equally near.
    pub fn endpoint_rows(&self) -> usize {
        let slots = match self.slot_sets() {
            0 => 0,
            sets => sets * self.slots() as usize,
        };
        (self.endpoints.len() + slots) * self.columns().count()
    }

    /// How many sets of endpoints that are equally near it lays slots out for, at most.
    pub fn slot_sets(&self) -> usize {
        if self.balance != Balance::ConsistentHash {
            return 0;
        }
        let places = self.endpoints.iter().map(|it| match self.policy {
            Policy::Random => (it.address.is_ipv6(), None),
            _ => (it.address.is_ipv6(), Some(&it.place)),
        });
        let sets = places.collect::<BTreeSet<_>>().len();
        sets.min(2 * (self.prefer.len() + 1))
    }
}

/// A virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vip {
    Fixed(IpAddr),
    /// One address of each family in `[mesh] vip_ranges` that the endpoints can serve.
    Auto,
}

/// A port that clients use and the port of the endpoint behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub port: u16,
    pub target: u16,
}
