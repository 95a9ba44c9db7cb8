//! One pass: read, build, check, diff, apply, verify.
//!
//! In: a mesh, facts and the maps. Out: a pass that says what it did, or an error after which the
//! maps still answer for the old mesh (or already for the new one), and the next pass repairs them.

use crate::maps::{Maps, MapsError};
use crate::model::{Facts, Mesh};
use crate::plan::{Plan, diff, words};
use crate::tables::{Actual, BuildError, Dangling, Table, Tables, build, check};

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("the mesh does not fit")]
    Build(#[from] BuildError),
    #[error("the desired tables contradict themselves, which is a defect of kmesh-lite")]
    Check(#[from] Dangling),
    #[error(
        "table `{table}` has room for {capacity} rows, {need} are needed while the old mesh is replaced by the new one"
    )]
    Capacity {
        table: Table,
        need: u64,
        capacity: u64,
    },
    #[error(transparent)]
    Maps(#[from] MapsError),
    #[error("{left} operations are left after the pass: something else writes to the tables")]
    Verify { left: usize },
}

/// A prepared change: nothing has been written yet.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub actual: Actual,
    pub desired: Tables,
    pub plan: Plan,
}

impl Prepared {
    /// The change in words.
    pub fn words(&self) -> Vec<String> {
        words(&self.actual.tables, &self.desired)
    }
}

/// Reads, builds, checks and diffs.
pub fn prepare(
    maps: &mut impl Maps,
    mesh: &Mesh,
    facts: &Facts,
) -> Result<Prepared, ReconcileError> {
    let actual = maps.read()?;
    let desired = build(mesh, facts, &actual)?;
    check(&desired)?;
    let plan = diff(&actual, &desired);
    for table in Table::ALL {
        let (need, capacity) = (plan.need(table), u64::from(maps.capacity(table)));
        if need > capacity {
            return Err(ReconcileError::Capacity {
                table,
                need,
                capacity,
            });
        }
    }
    Ok(Prepared {
        actual,
        desired,
        plan,
    })
}

/// Carries out a plan and reads back that nothing is left to do.
pub fn apply(maps: &mut impl Maps, prepared: &Prepared) -> Result<(), ReconcileError> {
    if prepared.plan.is_empty() {
        return Ok(());
    }
    for op in &prepared.plan.ops {
        maps.apply(op, prepared.plan.generation)?;
    }
    let left = diff(&maps.read()?, &prepared.desired).ops.len();
    if left == 0 {
        Ok(())
    } else {
        Err(ReconcileError::Verify { left })
    }
}
