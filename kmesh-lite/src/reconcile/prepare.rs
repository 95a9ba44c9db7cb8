//! The tables' part of a pass: from a mesh and facts to a plan, and through it.

use super::{Left, ReconcileError};
use crate::maps::{Maps, Selection};
use crate::model::{Facts, Mesh, Table};
use crate::plan::{Op, Plan, diff, summary};
use crate::tables::{Actual, Built, Leftovers, build, build_anew, check, check_since};

/// A change of the tables that was prepared: nothing has been written yet.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub actual: Actual,
    pub desired: Built,
    pub plan: Plan,
    /// What was looked at of the tables, and is looked at again when the plan has been carried out; none: everything.
    pub selection: Option<Selection>,
}

impl Prepared {
    /// The change in words.
    pub fn summary(&self) -> Vec<String> {
        summary(&self.actual.tables, &self.desired.tables)
    }

    /// Rows that the kernel's table must have: those of the plan, and twice those of the mesh, so that another
    /// one can be put beside it.
    pub fn need(&self, table: Table) -> u64 {
        need(&self.plan, &self.desired, table)
    }
}

/// Reads, builds, checks and diffs the tables.
pub fn prepare(
    maps: &mut impl Maps,
    mesh: &Mesh,
    facts: &Facts,
) -> Result<Prepared, ReconcileError> {
    let actual = maps.read()?;
    let desired = build(mesh, facts, &actual, maps.capacity(Table::Endpoints))?;
    check(&desired.tables)?;
    let plan = diff(&actual, &desired.tables, &desired.resumed());
    let prepared = Prepared {
        actual,
        desired,
        plan,
        selection: None,
    };
    has_room(maps, |table| prepared.need(table))?;
    Ok(prepared)
}

/// The same for empty tables beside these: every row keeps its id, and the endpoints have no gaps.
pub fn prepare_anew(
    maps: &mut impl Maps,
    mesh: &Mesh,
    facts: &Facts,
) -> Result<Prepared, ReconcileError> {
    let mut actual = maps.read()?;
    actual.leftovers = Leftovers::default();
    let counters = maps.capacity(Table::Endpoints);
    let desired = build_anew(mesh, facts, &actual, counters)?;
    check(&desired.tables)?;
    let empty = Actual::default();
    let plan = diff(&empty, &desired.tables, &desired.resumed());
    actual.generation = empty.generation;
    Ok(Prepared {
        actual,
        desired,
        plan,
        selection: None,
    })
}

/// The same as [`prepare`] gives, out of what the last pass left: only what differs since then is built, checked
/// and read. None if the tables hold something else there, or if it takes a look at everything to find out
/// what to do, or that it cannot be done.
pub fn prepare_next(
    maps: &mut impl Maps,
    left: &Left,
    mesh: &Mesh,
    facts: &Facts,
) -> Result<Option<Prepared>, ReconcileError> {
    let Some(desired) = left.built.next(mesh, facts, &left.taken) else {
        return Ok(None);
    };
    let actual = Actual {
        generation: left.generation,
        tables: left.built.tables.clone(),
        leftovers: Leftovers::default(),
    };
    let plan = diff(&actual, &desired.tables, &desired.resumed());
    let fits = check_since(&actual.tables, &desired.tables).is_ok()
        && has_room(maps, |table| need(&plan, &desired, table)).is_ok();
    if !fits {
        return Ok(None);
    }
    let selection = Selection::between(&actual.tables, &desired.tables);
    let expected = Actual {
        tables: selection.of(&actual.tables),
        ..actual.clone()
    };
    let as_left = maps.read_some(&selection)? == expected;
    Ok(as_left.then_some(Prepared {
        actual,
        desired,
        plan,
        selection: Some(selection),
    }))
}

fn need(plan: &Plan, desired: &Built, table: Table) -> u64 {
    plan.need(table).max(2 * desired.tables.count(table) as u64)
}

fn has_room(maps: &impl Maps, need: impl Fn(Table) -> u64) -> Result<(), ReconcileError> {
    for table in Table::ALL.iter().copied() {
        let (need, capacity) = (need(table), u64::from(maps.capacity(table)));
        if need > capacity {
            return Err(ReconcileError::Capacity {
                table,
                need,
                capacity,
            });
        }
    }
    Ok(())
}

/// Carries out a plan and reads back that nothing is left to do.
pub fn apply(maps: &mut impl Maps, prepared: &Prepared) -> Result<(), ReconcileError> {
    let (plan, desired) = (&prepared.plan, &prepared.desired.tables);
    let resumed = prepared.desired.resumed();
    if plan.is_empty() {
        return Ok(());
    }
    for op in &plan.ops {
        maps.apply(op, plan.generation)?;
    }
    let left = match &prepared.selection {
        None => diff(&maps.read()?, desired, &resumed).ops.len(),
        Some(selection) => {
            let there = maps.read_some(selection)?;
            let left = diff(&there, &selection.of(desired), &resumed).ops.len();
            // Nothing may count that a plan for these rows alone would not see.
            let commits = plan.ops.contains(&Op::Commit);
            let counts = there.generation == plan.generation - u64::from(!commits);
            left + usize::from(!counts)
        }
    };
    if left == 0 {
        Ok(())
    } else {
        Err(ReconcileError::Verify { left })
    }
}
