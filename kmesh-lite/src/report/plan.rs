//! What a pass would do.

use crate::api::PlanText;
use crate::model::{Facts, Mesh};
use crate::reconcile::Change;

/// The change that `mesh` is, where these facts hold.
pub fn plan(change: &Change, mesh: &Mesh, facts: &Facts) -> PlanText {
    PlanText {
        absent: absent(mesh, facts),
        summary: change.summary(),
        operations: change.operations(),
    }
}

/// Names of captured cgroups that are not there.
pub fn absent(mesh: &Mesh, facts: &Facts) -> Vec<String> {
    let captured = mesh.capture.cgroups.iter();
    let absent = captured.filter(|name| facts.cgroups(name).is_empty());
    absent.map(ToString::to_string).collect()
}
