//! What a pass left.

use super::Prepared;
use crate::model::{Facts, Mesh};
use crate::plan::Op;
use crate::tables::{Built, Tables, Taken};

/// What the last pass left in the kernel: any difference to it is drift, and the next pass builds upon it.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    pub(super) built: Built,
    pub(super) generation: u64,
    pub(super) taken: Taken,
}

impl Left {
    /// What is left when `prepared` has been carried out, after what `before` says was left before.
    pub fn after(prepared: Prepared, before: Option<Self>) -> Self {
        let (plan, mut built) = (prepared.plan, prepared.desired);
        let generation = if plan.ops.contains(&Op::Commit) {
            plan.generation
        } else {
            prepared.actual.generation
        };
        let taken = match before {
            Some(mut before) if prepared.selection.is_some() => {
                before.taken.follow(&before.built.tables, &built.tables);
                before.taken
            }
            Some(before) if before.built.tables == built.tables => {
                // What is shared stays shared.
                built.tables = before.built.tables;
                before.taken
            }
            // Desired tables have no counter that is not there.
            _ => Taken::of(&built.tables, u32::MAX),
        };
        Self {
            built,
            generation,
            taken,
        }
    }

    pub fn built(&self) -> &Built {
        &self.built
    }

    pub fn tables(&self) -> &Tables {
        &self.built.tables
    }

    /// Callers count as soon as they are written, whatever else there is.
    pub fn tables_mut(&mut self) -> &mut Tables {
        &mut self.built.tables
    }

    pub fn mesh(&self) -> &Mesh {
        &self.built.mesh
    }

    pub fn facts(&self) -> &Facts {
        &self.built.facts
    }
}
