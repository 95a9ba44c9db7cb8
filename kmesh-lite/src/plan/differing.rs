//! What differs between two tables, as operators see it.

use crate::tables::{self, Tables, changed_ranges};
use kmesh_lite_common::{BackendId, Member, ServiceId, WaypointId};
use std::collections::BTreeSet;

/// Services that are not the same in both, or that lead to something that is not.
pub fn changed_services(before: &Tables, after: &Tables) -> BTreeSet<ServiceId> {
    let (old, new) = (&before.rows, &after.rows);
    if renamed_waypoints(before, after) {
        return old
            .services
            .keys()
            .chain(new.services.keys())
            .copied()
            .collect();
    }
    let mut changed: BTreeSet<_> = old.services.differing(&new.services).into_iter().collect();
    for id in old.frontends.differing(&new.frontends) {
        let rows = [old.frontends.get(&id), new.frontends.get(&id)];
        changed.extend(rows.into_iter().flatten().filter_map(|row| row.service));
    }
    let (gone, come) = changed_ranges(before, after);
    let mut ranges: BTreeSet<_> = gone.iter().chain(&come).map(|(first, _)| *first).collect();
    let backends = renamed_backends(before, after);
    if !backends.is_empty() {
        let is_one = |member: Member| member.backend.is_some_and(|id| backends.contains(&id));
        let of_them = after.endpoints.iter();
        let of_them = of_them.filter(|(_, rows)| rows.iter().any(|row| is_one(row.own)));
        ranges.extend(of_them.map(|(first, _)| *first));
    }
    if !ranges.is_empty() {
        let leads_there = new.services.iter().filter(|(_, row)| {
            let mut used = tables::ranges(row);
            used.any(|range| ranges.contains(&range.first))
        });
        changed.extend(leads_there.map(|(id, _)| *id));
    }
    changed
}

/// Whether an id names another waypoint than before, or came or went.
pub fn renamed_waypoints(before: &Tables, after: &Tables) -> bool {
    let (old, new) = (&before.rows.waypoints, &after.rows.waypoints);
    let name = |row: Option<&kmesh_lite_common::Waypoint>| row.map(|row| row.name);
    let renamed = |id: &WaypointId| name(old.get(id)) != name(new.get(id));
    old.differing(new).iter().any(renamed)
}

/// Ids that name another backend than before, or came or went.
fn renamed_backends(before: &Tables, after: &Tables) -> BTreeSet<BackendId> {
    let (old, new) = (&before.rows.backends, &after.rows.backends);
    let address = |row: Option<&kmesh_lite_common::Backend>| row.map(|row| row.address);
    let renamed = |id: &BackendId| address(old.get(id)) != address(new.get(id));
    let differing = old.differing(new).into_iter();
    differing.filter(renamed).collect()
}
