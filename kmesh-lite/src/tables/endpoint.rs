//! Rows of endpoints: what ranges hold, and what is read back from them.

use super::Tables;
use super::alias;
use super::build::{Builder, ID};
use super::ids::Mix;
use super::maglev::{self, Holder};
use crate::model::{self, Columns, DepartedKey, Down, Name, OwnPorts, Standing};
use kmesh_lite_common::{
    Address, BackendId, Balance, Endpoint, EndpointId, Frontend, Member, Picking, Port, Protocol,
    Range, Service, ServiceId,
};
use kmesh_lite_ebpf::mixed;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

/// What an endpoint is known by, so that its counter stays its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    service: ServiceId,
    address: Address,
    /// As [`Listed::ports`].
    ports: Vec<Port>,
}

/// An endpoint as the tables have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub backend: Option<BackendId>,
    pub id: Option<EndpointId>,
    pub weight: u32,
    /// How many parts of the total of its range are its own.
    pub parts: u32,
    /// How many connections to it may be open, 0 for any number. Where the service counts none it says nothing.
    pub limit: u32,
    /// Its own ports by column, 0 where it has none; empty if it has none at all.
    pub ports: Vec<Port>,
}

/// The ranges of a service that have rows.
pub fn ranges(row: &Service) -> impl Iterator<Item = &Range> {
    let all = row.v4.iter().chain(&row.v6).chain([&row.drained]);
    all.filter(|range| range.count > 0)
}

/// How many rows a range has in all of its columns.
pub fn length(range: &Range, columns: u16) -> usize {
    range.count as usize * usize::from(columns)
}

/// Own ports in the form of a key: ports that are none are left out if all are.
fn key_ports(ports: impl Iterator<Item = Port> + Clone) -> Vec<Port> {
    if ports.clone().all(|port| port.get() == 0) {
        Vec::new()
    } else {
        ports.collect()
    }
}

impl Tables {
    /// The endpoints of a range.
    pub fn listed(&self, range: &Range) -> impl Iterator<Item = Listed> {
        let rows = self.endpoints.get(&range.first);
        let rows = rows.map_or(&[][..], |rows| &**rows);
        let count = range.count as usize;
        let hashed = rows.first().and_then(Endpoint::in_maglev);
        let endpoints = hashed.map_or(count, |first| first.endpoints as usize);
        // Somebody else may have written any number.
        let endpoints = endpoints.min(count).min(rows.len());
        (0..endpoints).filter_map(move |number| {
            let at = match rows.get(number)?.in_maglev() {
                Some(seat) => seat.alias as usize,
                None => number,
            };
            let (row, columns) = (rows.get(at)?, rows.get(at..)?.iter().step_by(count));
            Some(Listed {
                backend: row.own.backend,
                id: row.own.endpoint,
                weight: row.weight,
                parts: row.in_maglev().map_or(row.weight, |seat| seat.slots),
                limit: row.as_seat().limit,
                ports: key_ports(columns.map(|row| row.own.port)),
            })
        })
    }

    /// The address of an endpoint.
    pub fn address(&self, listed: &Listed) -> Option<IpAddr> {
        let row = self.rows.backends.get(&listed.backend?)?;
        Some(row.address.into())
    }

    /// Every counter that an endpoint has, with the endpoint.
    pub fn counted(&self) -> impl Iterator<Item = (EndpointKey, EndpointId)> {
        self.rows.services.iter().flat_map(move |(id, row)| {
            // Families mostly share their ranges.
            let firsts: BTreeMap<_, _> = ranges(row).map(|range| (range.first, range)).collect();
            let listed = firsts.into_values().flat_map(|range| self.listed(range));
            listed.filter_map(move |listed| {
                let address = self.address(&listed)?.into();
                let key = EndpointKey {
                    service: *id,
                    address,
                    ports: listed.ports,
                };
                Some((key, listed.id?))
            })
        })
    }

    /// The endpoints of a service, each with its counter.
    pub fn counters_of(&self, row: &Service) -> Vec<(IpAddr, Vec<Port>, EndpointId)> {
        // Families mostly share their ranges.
        let firsts: BTreeMap<_, _> = ranges(row).map(|range| (range.first, range)).collect();
        let listed = firsts.into_values().flat_map(|range| self.listed(range));
        listed
            .filter_map(|listed| Some((self.address(&listed)?, listed.ports, listed.id?)))
            .collect()
    }

    /// The counters of all endpoints.
    pub fn endpoint_ids(&self) -> BTreeSet<EndpointId> {
        let rows = self.endpoints.values().flat_map(|rows| rows.iter());
        rows.filter_map(|row| row.own.endpoint).collect()
    }
}

/// The own ports of an endpoint, out of the frontends of its service.
pub fn own_ports<'a>(
    frontends: impl IntoIterator<Item = &'a Frontend>,
    listed: &Listed,
) -> OwnPorts {
    // So it is for nearly all of them.
    if listed.ports.is_empty() {
        return OwnPorts::new();
    }
    let own = frontends.into_iter().filter_map(|frontend| {
        let port = listed.ports.get(usize::from(frontend.column))?.get();
        (port != 0).then_some(((frontend.key.port.get(), frontend.key.protocol), port))
    });
    own.collect()
}

/// The endpoint as the file could name it: `address`, `address:port` where the service has one port, or
/// `address (80 = 8081, 443 = 8443)`.
pub fn title(address: IpAddr, own: &OwnPorts, of_service: impl IntoIterator<Item = u16>) -> String {
    let ports: BTreeSet<_> = own.values().collect();
    let Some(port) = ports.first() else {
        return address.to_string();
    };
    let of_service: BTreeSet<_> = of_service.into_iter().collect();
    if of_service.len() == 1 && ports.len() == 1 {
        return SocketAddr::new(address, **port).to_string();
    }
    let own = own.iter().map(|((port, protocol), own)| match *protocol {
        Protocol::Tcp => format!("{port} = {own}"),
        protocol => format!("{port}/{protocol} = {own}"),
    });
    format!("{address} ({})", own.collect::<Vec<_>>().join(", "))
}

/// A member of a range that is about to be placed.
pub struct Placing {
    backend: BackendId,
    address: Address,
    has_waypoint: bool,
    endpoint: EndpointId,
    /// By column; empty if it has none.
    own_ports: Vec<Option<u16>>,
    pub weight: u32,
    /// Of the weight, in percent.
    pub share: u8,
    /// How many connections to it may be open; 0 for any number.
    limit: u32,
    down: Option<Down>,
}

/// What the rows of the ranges of a service are like.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    pub columns: &'a Columns,
    pub layout: Layout,
}

/// Where the endpoints of a range stand in its rows.
#[derive(Clone, Copy)]
pub enum Layout {
    /// An alias table.
    Plain,
    /// The same, of seats.
    Seats,
    /// So many slots, for clients that are spread by their hash.
    Slots(u32),
}

impl Layout {
    pub fn of(service: &model::Service, picking: &Picking) -> Self {
        match picking.balance {
            Balance::ConsistentHash => Self::Slots(service.slots()),
            _ if picking.has_seats() => Self::Seats,
            _ => Self::Plain,
        }
    }
}

impl Placing {
    /// What it is known by on every host.
    fn identity(&self) -> u64 {
        let ports = self.own_ports.iter().map(|port| port.unwrap_or(0).into());
        let words = self.address.words().map(u32::from_be).into_iter();
        words.chain(ports).fold(0, |identity, word: u32| {
            let high = mixed(identity, word);
            (u64::from(high) << 32) | u64::from(mixed(identity ^ u64::from(word), high))
        })
    }

    pub fn takes_connections(&self) -> bool {
        self.weight > 0 && self.down.is_none()
    }

    /// Forgets what was found of it; what the operator wants stays.
    pub fn use_anyway(&mut self) {
        self.down = self.down.filter(|down| down.is_meant());
    }
}

/// The weights of the members of a range, so that each has its share.
fn weights(members: &[Placing]) -> Vec<u32> {
    let whole = u64::from(Standing::WHOLE);
    let is_whole = members.iter().all(|it| it.share == Standing::WHOLE);
    let shared = |it: &Placing| match is_whole {
        true => u64::from(it.weight),
        false => u64::from(it.weight) * u64::from(it.share),
    };
    let total: u64 = members.iter().map(shared).sum();
    // Where the sum would be too large for a row, shares are a little coarser. The file keeps to that by itself, and
    // the operator need not.
    let room = u64::from(u32::MAX) - members.len() as u64;
    let unit = total.div_ceil(room).max(1);
    let unit = if unit > 1 && !is_whole {
        unit.max(whole)
    } else {
        unit
    };
    let weights = members.iter().map(|it| (shared(it) / unit).max(1));
    weights.map(|it| it as u32).collect()
}

/// The counters that the endpoints of a service have, by address and ports.
pub type CountersBefore = HashMap<(Address, Vec<Port>), EndpointId, BuildHasherDefault<Mix>>;

impl Builder<'_> {
    /// The counters that the endpoints of a service may keep.
    pub(super) fn counters_before(&self, row: Option<&Service>) -> CountersBefore {
        let Some(row) = row else {
            return CountersBefore::default();
        };
        // Families mostly share their ranges.
        let firsts: BTreeMap<_, _> = ranges(row).map(|range| (range.first, range)).collect();
        let listed = firsts
            .into_values()
            .flat_map(|range| self.before.listed(range));
        let counters = listed.filter_map(|listed| {
            let address = self.before.address(&listed)?.into();
            Some(((address, listed.ports), listed.id?))
        });
        counters.collect()
    }

    /// The id that an endpoint had before it departed, if that stands for it still.
    fn departed(&self, service: &Name, endpoint: &model::Endpoint) -> Option<EndpointId> {
        if self.departed.is_empty() {
            return None;
        }
        let own = endpoint.ports.iter();
        let key = DepartedKey {
            service: service.to_string(),
            address: endpoint.address,
            ports: own
                .map(|own| ((own.port, own.protocol), own.target))
                .collect(),
        };
        self.facts.departed.get(&key).copied()
    }

    /// An endpoint with the ids that it has or gets.
    pub(super) fn placing(
        &mut self,
        service: &Name,
        counters: &CountersBefore,
        own_ports: Vec<Option<u16>>,
        endpoint: &model::Endpoint,
        standing: Standing,
    ) -> Placing {
        let address = endpoint.address.into();
        let backend = BackendId::from_index(self.ids.backends.index(address)).expect(ID);
        let ports = own_ports.iter().map(|port| Port::new(port.unwrap_or(0)));
        let own = counters.get(&(address, key_ports(ports))).copied();
        let own = own.or_else(|| self.departed(service, endpoint));
        // One that two endpoints have, or that is beyond the table, was put there by somebody else.
        let (limit, counted) = (self.counter_limit, &mut self.counted);
        let own = own.filter(|id| id.index() < limit && counted.insert(*id));
        let (counters, departed) = (&mut self.counters, &self.departed);
        // There are a few at most.
        let new = || loop {
            let id = EndpointId::from_index(counters.first_fit(1)).expect(ID);
            if !departed.contains(&id) {
                return id;
            }
        };
        let meant = self.mesh.backends.get(&endpoint.address);
        Placing {
            backend,
            address,
            has_waypoint: meant.is_some_and(|backend| backend.waypoint.is_some()),
            endpoint: own.unwrap_or_else(new),
            own_ports,
            weight: standing.weight.unwrap_or(endpoint.weight),
            share: standing.share,
            limit: endpoint.max_connections.map_or(0, NonZeroU32::get),
            down: standing.down,
        }
    }

    /// One range, at `old` if its rows are there already. Nothing is drawn from a range that is drained.
    pub(super) fn range(
        &mut self,
        members: &[Placing],
        form: Form<'_>,
        old: Option<u32>,
        drained: bool,
    ) -> Range {
        if members.is_empty() {
            return Range::default();
        }
        let weights = match drained {
            true => members.iter().map(|it| it.weight).collect(),
            false => weights(members),
        };
        let layout = match form.layout {
            Layout::Slots(_) if drained => Layout::Seats,
            layout => layout,
        };
        let owners = match layout {
            Layout::Slots(slots) => {
                let holders = members.iter().zip(&weights).map(|(it, weight)| Holder {
                    identity: it.identity(),
                    weight: *weight,
                });
                maglev::lay_out(&holders.collect::<Vec<_>>(), slots)
            }
            _ => Vec::new(),
        };
        let (mut rows, mut total): (Vec<Endpoint>, u32) = (Vec::new(), 0);
        for column in 0..form.columns.count() {
            let of_column = members.iter().zip(&weights).map(|(it, weight)| {
                let port = it.own_ports.get(column).copied().flatten();
                let port = port.map(Port::new);
                let member =
                    Member::new(it.backend, it.address, it.endpoint, port, it.has_waypoint);
                (member, if drained { 0 } else { *weight })
            });
            let mut placed;
            let of_column: Vec<_> = of_column.collect();
            let limits = members.iter().map(|it| it.limit);
            match layout {
                Layout::Plain => (placed, total) = alias::rows(&of_column),
                Layout::Seats => (placed, total) = alias::seats(&of_column, limits),
                Layout::Slots(slots) => {
                    placed = alias::slots(&of_column, limits, &owners);
                    total = slots;
                }
            }
            if drained {
                for (row, weight) in placed.iter_mut().zip(&weights) {
                    row.weight = *weight;
                }
            }
            rows.extend(placed);
        }
        let count = (rows.len() / form.columns.count()) as u32;
        Range {
            first: self.place(rows, old),
            count,
            total,
        }
    }

    /// The index of the first row: where `old` is if the same rows are there, else the first stretch that is
    /// long enough. Rows in use are never handed out: a program may be reading them.
    fn place(&mut self, rows: Vec<Endpoint>, old: Option<u32>) -> u32 {
        let there = |first: u32| Some((first, self.before.endpoints.get(&first)?));
        let unchanged = old.filter(|_| self.in_place).and_then(there);
        let unchanged = unchanged.filter(|(_, there)| ***there == *rows);
        let (first, rows) = match unchanged {
            Some((first, rows)) => (first, Arc::clone(rows)),
            None => (self.ranges.first_fit(rows.len() as u32), rows.into()),
        };
        self.endpoints.insert(first, rows);
        first
    }
}
