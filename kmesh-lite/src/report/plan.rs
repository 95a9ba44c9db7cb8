//! What a pass would do.

use crate::api::PlanText;
use crate::reconcile::Change;

pub fn plan(change: &Change) -> PlanText {
    PlanText {
        summary: change.summary(),
        operations: change.operations(),
    }
}
