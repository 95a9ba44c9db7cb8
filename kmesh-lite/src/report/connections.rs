//! Living connections, in words.

use super::titles::titles;
use crate::api::{ConnectionStatus, Connections, Failure, FailureKind};
use crate::kernel::{Living, Snapshot};
use crate::model::Table;
use kmesh_lite_common::ServiceId;
use kmesh_lite_ebpf::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The connections of a snapshot; of one service only, if one is named. `cgroups` are the paths of those
/// that are there, by id; `now` is what their clock shows, in nanoseconds.
pub fn connections(
    snapshot: &Snapshot,
    cgroups: &BTreeMap<u64, PathBuf>,
    now: u64,
    name: Option<&str>,
) -> Result<Connections, Failure> {
    let tables = &snapshot.tables;
    let named = |id: &ServiceId| tables.name(Table::Services, id.index());
    if let Some(name) = name
        && !tables
            .rows
            .services
            .keys()
            .any(|id| named(id).as_deref() == Some(name))
    {
        let error = format!("there is no service {name:?}");
        return Err(Failure::new(FailureKind::NotFound, error));
    }
    let used = snapshot.connections.iter();
    let used: BTreeSet<_> = used.filter_map(|it| it.connection.service).collect();
    let titles = titles(tables, |id| used.contains(&id));
    let status = |Living { cookie, connection }: &Living| {
        let endpoint = connection.endpoint.and_then(|id| titles.get(&id));
        let waypoint = connection.waypoint;
        let cgroup = cgroups.get(&connection.cgroup);
        let asked = SocketAddr::new(connection.address.into(), connection.port.get());
        ConnectionStatus {
            cookie: *cookie,
            protocol: connection.protocol.to_string(),
            original_destination: asked.to_string(),
            service: connection.service.as_ref().and_then(named),
            endpoint: match (endpoint, connection.backend) {
                (Some(titled), _) => Some(titled.endpoint.clone()),
                // A backend whose own address was asked for.
                (None, Some(id)) => tables.name(Table::Backends, id.index()),
                (None, None) => None,
            },
            waypoint: waypoint.and_then(|id| tables.name(Table::Waypoints, id.index())),
            unit: cgroup.and_then(|path| unit(path)),
            cgroup: cgroup.map(|path| path.display().to_string()),
            uid: connection.user,
            pid: connection.process,
            age_seconds: now.saturating_sub(connection.since) as f64 / 1e9,
        }
    };
    let mut living: Vec<_> = snapshot.connections.iter().collect();
    living.sort_by_key(|it| (it.connection.since, it.cookie));
    let statuses = living.into_iter().map(status);
    let statuses = statuses.filter(|it| name.is_none() || it.service.as_deref() == name);
    let unlisted = snapshot.counters.outcomes.get(&Outcome::Unlisted);
    Ok(Connections {
        connections: statuses.collect(),
        limit: snapshot.room.connections,
        unlisted: unlisted.copied().unwrap_or_default(),
    })
}

/// The unit of the host's own systemd that a cgroup belongs to: the first on the way to it that is no
/// slice. What is inside a unit is the unit's own, whatever its name.
pub fn unit(cgroup: &Path) -> Option<String> {
    let parts = cgroup.iter().filter_map(|part| part.to_str());
    let mut parts = parts.skip_while(|part| *part == "/" || part.ends_with(".slice"));
    let first = parts.next()?;
    let is_unit = [".service", ".scope", ".socket", ".mount", ".swap"];
    let is_unit = is_unit.iter().any(|kind| first.ends_with(kind));
    is_unit.then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_cgroup_is_the_outermost_that_is_no_slice() {
        for (cgroup, expected) in [
            ("/system.slice/shop.service", Some("shop.service")),
            ("/system.slice/shop.service/workers", Some("shop.service")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
                Some("user@1000.service"),
            ),
            (
                "/machine.slice/box.scope/system.slice/x.service",
                Some("box.scope"),
            ),
            ("/init.scope", Some("init.scope")),
            ("/docker/0123", None),
            ("/system.slice", None),
            ("/", None),
        ] {
            assert_eq!(unit(Path::new(cgroup)).as_deref(), expected, "{cgroup}");
        }
    }
}
