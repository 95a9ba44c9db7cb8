//! Whether every reference in the tables resolves.

use super::Tables;
use super::endpoint::{length, ranges};
use kmesh_lite_common::{BackendId, Range};
use kmesh_lite_ebpf::in_use;

/// A reference to a row that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} refers to {to}, which does not exist")]
pub struct Dangling {
    pub from: String,
    pub to: String,
}

/// The first reference that does not resolve, if there is one.
pub fn check(tables: &Tables) -> Result<(), Dangling> {
    let dangling = |from: String, to: String| Err(Dangling { from, to });
    for (id, backend) in &tables.rows.backends {
        if let Some(waypoint) = backend.waypoint
            && !tables.rows.waypoints.contains_key(&waypoint)
        {
            return dangling(format!("backend {id}"), format!("waypoint {waypoint}"));
        }
    }
    // By index: there are twice as many references to backends as endpoints.
    let last = tables.rows.backends.last_key_value();
    let mut backends = vec![false; last.map_or(0, |(id, _)| id.index() as usize + 1)];
    for id in tables.rows.backends.keys() {
        backends[id.index() as usize] = true;
    }
    let exists = |id: BackendId| backends.get(id.index() as usize) == Some(&true);
    for (first, rows) in &tables.endpoints {
        let members = rows.iter().flat_map(|row| [row.own, row.alias]);
        for backend in members.map(|member| member.backend) {
            if !backend.is_some_and(exists) {
                return dangling(
                    format!("endpoint range at {first}"),
                    format!("backend {backend:?}"),
                );
            }
        }
    }
    for service in tables.rows.services.values() {
        let from = || format!("service {}", service.name);
        if let Some(waypoint) = service.waypoint
            && !tables.rows.waypoints.contains_key(&waypoint)
        {
            return dangling(from(), format!("waypoint {waypoint}"));
        }
        let whole = |range: &&Range| {
            let rows = tables.endpoints.get(&range.first);
            rows.is_some_and(|rows| rows.len() == length(range, service.columns))
        };
        if let Some(range) = ranges(service).find(|range| !whole(range)) {
            return dangling(from(), format!("endpoint range at {}", range.first));
        }
    }
    for frontend in tables.rows.frontends.values() {
        let key = frontend.key;
        let from = || format!("frontend {}:{}", key.address, key.port);
        let service = frontend
            .service
            .and_then(|id| tables.rows.services.get(&id));
        let Some(service) = service else {
            return dangling(from(), format!("service {:?}", frontend.service));
        };
        if frontend.column >= service.columns {
            return dangling(from(), format!("column {}", frontend.column));
        }
        if frontend.in_use != in_use(service, key.address.family())
            || frontend.waypoint != service.waypoint
        {
            return dangling(from(), "endpoints that are not those in use".to_owned());
        }
    }
    for row in tables.rows.addresses.values() {
        if let Some(backend) = row.backend
            && !tables.rows.backends.contains_key(&backend)
        {
            return dangling(
                format!("address {}", row.address),
                format!("backend {backend}"),
            );
        }
    }
    Ok(())
}
