//! The desired tables of a mesh.

use super::auto::Vips;
use super::declared::{ById, Declared, Each, Noun, Shape, each, for_each_table};
use super::endpoint::{self, EndpointKey};
use super::ids::Ids;
use super::ranges::Ranges;
use super::{Actual, Tables, auto, caller};
use crate::model::{Facts, Mesh, Service, Table};

/// Why a valid mesh has no tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error(
        "table `{table}` is too small: the mesh needs {need} rows, the limit is {limit}; raise `[limits] {table}`"
    )]
    Capacity { table: Table, need: u64, limit: u64 },
    #[error(transparent)]
    Vips(#[from] auto::Exhausted),
}

/// Builds the tables that `mesh` wants, keeping the ids and ranges of `actual` wherever they still
/// name the same thing.
pub fn build(mesh: &Mesh, facts: &Facts, actual: &Actual) -> Result<Tables, BuildError> {
    let vips = auto::vips(mesh, &actual.tables)?;
    check_limits(mesh, &vips)?;
    let mut builder = Builder::new(mesh, facts, actual);
    builder.waypoints();
    builder.backends();
    for (name, service) in &mesh.services {
        builder.service(name, service, &vips[name]);
    }
    builder.captured();
    Ok(builder.finish())
}

fn check_limits(mesh: &Mesh, vips: &Vips) -> Result<(), BuildError> {
    let services = mesh.services.values();
    let endpoints = services.map(Service::endpoint_rows).sum();
    let mut needs = vec![(Table::Endpoints, endpoints)];
    for_each_table!(T => { needs.push((T::TABLE, T::needed(mesh, vips))) });
    // The first table that is too small is named, in the order in which rows are written.
    needs.sort();
    for (table, need) in needs {
        let (need, limit) = (need as u64, u64::from(mesh.limits.of(table)));
        if need > limit {
            return Err(BuildError::Capacity { table, need, limit });
        }
    }
    Ok(())
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
