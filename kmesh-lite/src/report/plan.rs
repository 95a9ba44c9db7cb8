//! What a pass would do.

use super::denied::denied;
use super::health::orders;
use super::live::LiveConnections;
use super::open::Open;
use super::titles::titles;
use crate::api::{Leaving, PlanText};
use crate::health::Orders;
use crate::model::{Facts, Mesh, OnRemove};
use crate::reconcile::Change;
use crate::tables::{Tables, departing};
use kmesh_lite_common::Service;
use std::collections::BTreeSet;

/// The change that `mesh` is, where these facts hold and these connections stand. `held` is the mesh before, if it is
/// known, and `wanted` what the operator wants.
pub fn plan(
    change: &Change,
    (held, mesh): (Option<&Mesh>, &Mesh),
    facts: &Facts,
    standing: &LiveConnections,
    wanted: &Orders,
) -> PlanText {
    let (actual, desired) = (&change.tables.actual.tables, &change.tables.desired.tables);
    let on_remove = |name: &str| {
        let services = [Some(mesh), held].into_iter().flatten();
        let mut services = services.filter_map(|mesh| mesh.services.get(name));
        services.next().map_or(mesh.on_remove, |it| it.on_remove)
    };
    let open = Open::count(&standing.listed);
    let mut leaving = drained(actual, desired, &open);
    leaving.extend(removed(actual, mesh, on_remove, &open));
    leaving.sort_by(|a, b| (&a.service, &a.endpoint).cmp(&(&b.service, &b.endpoint)));
    PlanText {
        absent: absent(mesh, facts),
        summary: change.summary(),
        operations: change.operations(),
        leaving,
        orders: orders(wanted, mesh),
        lockouts: Vec::new(),
        denied: denied([actual, desired], mesh, standing),
    }
}

/// Endpoints with open connections that take new ones now, and stay, and will take none.
fn drained(actual: &Tables, desired: &Tables, open: &Open) -> Vec<Leaving> {
    if open.is_empty() {
        return Vec::new();
    }
    let has_open = |id| open.of_service(id) > 0;
    let (before, after) = (titles(actual, has_open), titles(desired, has_open));
    let drained = before.into_iter().filter_map(|(id, titled)| {
        let is_drained = after.get(&id).is_some_and(|after| after.is_drained);
        let open_connections = open.of_endpoint(Some(id));
        (!titled.is_drained && is_drained && open_connections > 0).then_some(Leaving {
            service: titled.service,
            endpoint: titled.endpoint,
            open_connections,
            on_remove: None,
        })
    });
    drained.collect()
}

/// Endpoints with open connections that their services will not have any more.
fn removed(
    actual: &Tables,
    mesh: &Mesh,
    on_remove: impl Fn(&str) -> OnRemove,
    open: &Open,
) -> Vec<Leaving> {
    let services = actual.rows.services.iter();
    let with_open = services.filter(|(id, _)| open.of_service(**id) > 0);
    let with_open: BTreeSet<_> = with_open.map(|(_, row)| row.name.to_string()).collect();
    let concerned = |row: &Service| {
        let name = row.name.as_str();
        with_open.contains(name).then(|| on_remove(name))
    };
    let removed = departing(actual, mesh, concerned).into_iter();
    let removed = removed.map(|it| Leaving {
        open_connections: open.of_endpoint(Some(it.id)),
        service: it.key.service,
        endpoint: it.endpoint,
        on_remove: Some(it.on_remove.to_string()),
    });
    removed.filter(|it| it.open_connections > 0).collect()
}

/// Names of captured cgroups that are not there.
pub fn absent(mesh: &Mesh, facts: &Facts) -> Vec<String> {
    let captured = mesh.capture.cgroups.iter();
    let absent = captured.filter(|name| facts.cgroups(name).is_empty());
    absent.map(ToString::to_string).collect()
}
