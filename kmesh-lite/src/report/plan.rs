//! What a pass would do.

use super::open::Open;
use super::titles::titles;
use crate::api::{Leaving, PlanText};
use crate::kernel::Living;
use crate::model::{Facts, Mesh};
use crate::reconcile::Change;
use crate::tables::Tables;

/// The change that `mesh` is, where these facts hold and these connections are open.
pub fn plan(change: &Change, mesh: &Mesh, facts: &Facts, connections: &[Living]) -> PlanText {
    let (actual, desired) = (&change.tables.actual.tables, &change.tables.desired.tables);
    PlanText {
        absent: absent(mesh, facts),
        summary: change.summary(),
        operations: change.operations(),
        leaving: leaving(actual, desired, &Open::count(connections)),
    }
}

/// Endpoints with open connections that take new ones now, and will take none.
fn leaving(actual: &Tables, desired: &Tables, open: &Open) -> Vec<Leaving> {
    if open.is_empty() {
        return Vec::new();
    }
    let has_open = |id| open.of_service(id) > 0;
    let (before, after) = (titles(actual, has_open), titles(desired, has_open));
    let mut leaving: Vec<_> = before
        .into_iter()
        .filter_map(|(id, titled)| {
            let stays = after.get(&id).is_some_and(|after| !after.is_drained);
            let open_connections = open.of_endpoint(Some(id));
            (!titled.is_drained && !stays && open_connections > 0).then_some(Leaving {
                service: titled.service,
                endpoint: titled.endpoint,
                open_connections,
            })
        })
        .collect();
    leaving.sort_by(|a, b| (&a.service, &a.endpoint).cmp(&(&b.service, &b.endpoint)));
    leaving
}

/// Names of captured cgroups that are not there.
pub fn absent(mesh: &Mesh, facts: &Facts) -> Vec<String> {
    let captured = mesh.capture.cgroups.iter();
    let absent = captured.filter(|name| facts.cgroups(name).is_empty());
    absent.map(ToString::to_string).collect()
}
