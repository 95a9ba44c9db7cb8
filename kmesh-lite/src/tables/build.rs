//! The desired tables of a mesh: all of them, or out of those of another mesh.

use super::arrivals::Arrivals;
use super::auto::{self, Vips};
use super::caller;
use super::declared::{ById, Declared, Each, Shape, each};
use super::ids::Ids;
use super::room::{self, Shortage};
use super::space::{Space, Taking};
use super::taken::Taken;
use super::{Actual, Tables};
use crate::model::{Facts, Mesh};
use imbl::OrdMap;
use kmesh_lite_common::{Endpoint, EndpointId};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Why a valid mesh has no tables: everything that it has too little of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentences(.0))]
pub struct BuildError(pub Vec<Shortage>);

fn sentences(shortages: &[Shortage]) -> String {
    let each = shortages.iter();
    let each = each.map(|it| format!("{it}; {}", it.remedy()));
    each.collect::<Vec<_>>().join("; ")
}

/// The tables of a mesh, with all that the next ones can be built out of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Built {
    pub mesh: Mesh,
    pub facts: Facts,
    pub vips: Vips,
    /// Addresses of endpoints straight to which connects are judged.
    pub guarded: Arc<BTreeSet<IpAddr>>,
    /// What the rows of sources say.
    pub arrivals: Arc<Arrivals>,
    pub tables: Tables,
}

impl Built {
    /// Ids that go on to count, if tables get them: those of endpoints that had departed.
    pub fn resumed(&self) -> BTreeSet<EndpointId> {
        self.facts.departed.values().copied().collect()
    }
}

/// Builds the tables that `mesh` wants, keeping the ids and ranges of `actual` wherever they still
/// name the same thing. Endpoints have as many counters as `counters` says.
pub fn build(
    mesh: &Mesh,
    facts: &Facts,
    actual: &Actual,
    counters: u32,
) -> Result<Built, BuildError> {
    let taken = Taken::of(&actual.tables, counters);
    all(mesh, facts, (&actual.tables, counters), &taken, true)
}

/// The same for new tables beside these: every row keeps its id, and the endpoints have no gaps.
pub fn build_anew(
    mesh: &Mesh,
    facts: &Facts,
    actual: &Actual,
    counters: u32,
) -> Result<Built, BuildError> {
    let taken = Taken {
        endpoints: Space::default(),
        ..Taken::of(&actual.tables, counters)
    };
    all(mesh, facts, (&actual.tables, counters), &taken, false)
}

fn all(
    mesh: &Mesh,
    facts: &Facts,
    (before, counters): (&Tables, u32),
    taken: &Taken,
    in_place: bool,
) -> Result<Built, BuildError> {
    let (vips, exhausted) = auto::vips(mesh, before);
    let shortages = room::together(mesh, &vips, exhausted);
    if !shortages.is_empty() {
        return Err(BuildError(shortages));
    }
    let mut builder = Builder::new(mesh, facts, before, taken);
    builder.in_place = in_place;
    builder.counter_limit = counters;
    for (name, waypoint) in &mesh.waypoints {
        builder.waypoint(name, waypoint);
    }
    for (name, policy) in &mesh.policies {
        builder.authorization(name, policy);
    }
    builder.guarded = guarded_addresses(mesh).into();
    builder.guards();
    for (ip, backend) in &mesh.backends {
        builder.backend(*ip, backend);
    }
    for (name, service) in &mesh.services {
        builder.service(name, service, vips.of(name));
    }
    let captured = mesh.backends.iter();
    let captured = captured.filter(|(_, backend)| backend.waypoint.is_some());
    let mut addresses: BTreeSet<_> = captured.map(|(ip, _)| *ip).collect();
    addresses.extend(builder.guarded.iter().copied());
    for ip in addresses {
        builder.address(ip);
    }
    Ok(builder.finish(vips))
}

/// Addresses of endpoints of services that policies say something of, as far as clients are concerned.
pub fn guarded_addresses(mesh: &Mesh) -> BTreeSet<IpAddr> {
    let services = mesh.guarded_against_clients().into_iter();
    let services = services.filter_map(|name| mesh.services.get(name));
    let endpoints = services.flat_map(|service| &service.endpoints);
    endpoints.map(|endpoint| endpoint.address).collect()
}

/// The tables as far as they are built.
pub struct Builder<'a> {
    pub mesh: &'a Mesh,
    pub facts: &'a Facts,
    /// Those that the new ones take the place of.
    pub before: &'a Tables,
    /// Whether they do so row by row, and ranges may stay where they are.
    pub in_place: bool,
    pub ids: Each<Handed<'a>>,
    pub counters: Taking<'a>,
    /// Ids of endpoints that have departed.
    pub departed: BTreeSet<EndpointId>,
    /// How many counters there were: one beyond them was put there by somebody else.
    pub counter_limit: u32,
    /// Counters that an endpoint has already. Two have the same one only if somebody else wrote it.
    pub counted: Counted,
    pub ranges: Taking<'a>,
    /// Addresses of endpoints straight to which connects are judged.
    pub guarded: Arc<BTreeSet<IpAddr>>,
    /// What the rows of sources say.
    pub arrivals: Arc<Arrivals>,
    pub rows: Each<ById>,
    pub endpoints: OrdMap<u32, Arc<[Endpoint]>>,
}

/// Counters, a bit for each up to the last one.
#[derive(Default)]
pub struct Counted(Vec<u64>);

impl Counted {
    /// Whether it is new.
    pub fn insert(&mut self, id: EndpointId) -> bool {
        let (word, bit) = (id.index() as usize / 64, 1 << (id.index() % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }
}

/// The shape of the ids of a pass.
pub struct Handed<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Shape for Handed<'a> {
    type Of<T: Declared> = Ids<'a, T::Key>;
}

/// Ids come out of indexes below twice the limits, which are far below the last id there can be.
pub const ID: &str = "an index of a table has an id";

impl<'a> Builder<'a> {
    /// Begins with nothing.
    pub fn new(mesh: &'a Mesh, facts: &'a Facts, before: &'a Tables, taken: &'a Taken) -> Self {
        Self {
            mesh,
            facts,
            before,
            in_place: true,
            ids: each!(T => Ids::new(T::part(&taken.ids), T::part(&taken.free))),
            counters: Taking::of(&taken.counters),
            departed: facts.departed.values().copied().collect(),
            counter_limit: u32::MAX,
            counted: Counted::default(),
            ranges: Taking::of(&taken.endpoints),
            guarded: Arc::default(),
            arrivals: Arc::default(),
            rows: Each::default(),
            endpoints: OrdMap::new(),
        }
    }

    pub fn finish(self, vips: Vips) -> Built {
        let (callers, caller_levels) = caller::callers(self.mesh, self.facts);
        Built {
            mesh: self.mesh.clone(),
            facts: self.facts.clone(),
            vips,
            guarded: self.guarded,
            arrivals: self.arrivals,
            tables: Tables {
                rows: self.rows,
                endpoints: self.endpoints,
                callers,
                caller_levels,
                accounting: self.mesh.accounting,
            },
        }
    }
}
