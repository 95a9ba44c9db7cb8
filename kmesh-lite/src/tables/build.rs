//! The desired tables of a mesh.

use super::declared::{ById, Declared, Each, Noun, Shape, each};
use super::endpoint::{self, EndpointKey};
use super::ids::Ids;
use super::ranges::Ranges;
use super::room::Shortage;
use super::{Actual, Tables, auto, caller, room};
use crate::model::{Facts, Mesh, Table};

/// Why a valid mesh has no tables: everything that it has too little of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentences(.0))]
pub struct BuildError(pub Vec<Shortage>);

fn sentences(shortages: &[Shortage]) -> String {
    let each = shortages.iter();
    let each = each.map(|it| format!("{it}; {}", it.remedy()));
    each.collect::<Vec<_>>().join("; ")
}

/// Builds the tables that `mesh` wants, keeping the ids and ranges of `actual` wherever they still
/// name the same thing.
pub fn build(mesh: &Mesh, facts: &Facts, actual: &Actual) -> Result<Tables, BuildError> {
    let (vips, exhausted) = auto::vips(mesh, &actual.tables);
    let shortages = room::together(mesh, &vips, exhausted);
    if !shortages.is_empty() {
        return Err(BuildError(shortages));
    }
    let mut builder = Builder::new(mesh, facts, actual);
    builder.waypoints();
    builder.backends();
    for (name, service) in &mesh.services {
        builder.service(name, service, &vips[name]);
    }
    builder.captured();
    Ok(builder.finish())
}

/// The tables as far as they are built.
pub struct Builder<'a> {
    pub mesh: &'a Mesh,
    pub facts: &'a Facts,
    pub actual: &'a Actual,
    pub ids: Each<Known>,
    pub endpoint_ids: Ids<EndpointKey>,
    pub ranges: Ranges<'a>,
    pub rows: Each<ById>,
}

/// The ids of rows, by key.
pub struct Known;

impl Shape for Known {
    type Of<T: Declared> = Ids<T::Key>;
}

/// Ids come out of indexes below the limits, which are far below the last id there can be.
pub const ID: &str = "an index below a limit has an id";

impl<'a> Builder<'a> {
    fn new(mesh: &'a Mesh, facts: &'a Facts, actual: &'a Actual) -> Self {
        let now = &actual.tables.rows;
        Self {
            mesh,
            facts,
            actual,
            ids: each!(T => {
                let rows = T::part(now).iter();
                Ids::new(rows.map(|(id, row)| (T::key(row), T::index(*id))))
            }),
            endpoint_ids: Ids::new(endpoint::known(
                &actual.tables,
                Table::Endpoints.rows(&mesh.limits),
            )),
            ranges: Ranges::new(&actual.tables.endpoints),
            rows: Each::default(),
        }
    }

    fn finish(self) -> Tables {
        let (callers, caller_levels) = caller::callers(self.mesh, self.facts);
        Tables {
            rows: self.rows,
            endpoints: self.ranges.placed,
            callers,
            caller_levels,
        }
    }
}
