//! A change in words.

use super::differing;
use crate::tables::{Listed, Tables, filled, own_ports, picking_words, title};
use kmesh_lite_common::{BackendId, Frontend, Mode, Name, Service, ServiceId, Speaker, WaypointId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The differences of `desired`, a line for each thing that an operator knows by name; empty when
/// nothing is.
pub fn summary(actual: &Tables, desired: &Tables) -> Vec<String> {
    let (before, after) = (View(actual), View(desired));
    let mut lines = Vec::new();
    let (old, new) = (&actual.rows, &desired.rows);
    // Words for a hundred thousand endpoints are only looked for where they matter.
    let waypoints = old.waypoints.differing(&new.waypoints);
    named(
        &before.waypoints(&waypoints),
        &after.waypoints(&waypoints),
        "waypoint",
        &mut lines,
        |old, new, _| vec![format!("{old} becomes {new}")],
    );
    let captured = if differing::renamed_waypoints(actual, desired) {
        let all = old.backends.keys().chain(new.backends.keys());
        all.copied().collect::<BTreeSet<_>>().into_iter().collect()
    } else {
        old.backends.differing(&new.backends)
    };
    named(
        &before.captured(&captured),
        &after.captured(&captured),
        "captured address",
        &mut lines,
        |old, new, _| vec![format!("{old} becomes {new}")],
    );
    let changed = differing::changed_services(actual, desired);
    named(
        &before.services(&changed),
        &after.services(&changed),
        "service",
        &mut lines,
        |old, new, _| old.changes(new),
    );
    named(
        &before.policies(),
        &after.policies(),
        "policy",
        &mut lines,
        |old, new, _| vec![format!("{old} becomes {new}")],
    );
    let (gone, new) = (actual.callers.len(), desired.callers.len());
    if actual.callers != desired.callers {
        lines.push(format!(
            "callers: {gone} cgroups with special treatment become {new}"
        ));
    }
    lines
}

/// Lines for what came, went and changed among things with names.
fn named<T: PartialEq + std::fmt::Display>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    noun: &str,
    lines: &mut Vec<String>,
    changes: impl Fn(&T, &T, &str) -> Vec<String>,
) {
    for (name, old) in before {
        match after.get(name) {
            None => lines.push(format!("{noun} {name}: removed ({old})")),
            Some(new) if new != old => {
                lines.extend(
                    changes(old, new, name)
                        .into_iter()
                        .map(|change| format!("{noun} {name}: {change}")),
                );
            }
            Some(_) => {}
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        lines.push(format!("{noun} {name}: added ({new})"));
    }
}

struct View<'a>(&'a Tables);

/// A service by addresses and names instead of ids.
#[derive(PartialEq)]
struct ServiceWords {
    policy: &'static str,
    picking: String,
    waypoint: Option<String>,
    /// `address:port/protocol` to target port.
    frontends: BTreeMap<String, u16>,
    /// By address and own ports.
    endpoints: BTreeMap<String, EndpointWords>,
}

#[derive(Clone, Copy, PartialEq)]
struct EndpointWords {
    /// None if it takes no connections.
    priority: Option<usize>,
    weight: u32,
    /// 0 for any number.
    max_connections: u32,
}

impl std::fmt::Display for EndpointWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let weight = self.weight;
        match self.priority {
            Some(priority) => write!(f, " at priority {priority}, weight {weight}")?,
            None if weight > 0 => write!(f, ", weight {weight}, unusable")?,
            None => write!(f, ", weight {weight}")?,
        }
        match self.max_connections {
            0 => Ok(()),
            limit => write!(f, ", at most {limit} connections"),
        }
    }
}

impl View<'_> {
    fn waypoints(&self, ids: &[WaypointId]) -> BTreeMap<String, String> {
        let rows = ids.iter().filter_map(|id| self.0.rows.waypoints.get(id));
        rows.map(|row| {
            let address = SocketAddr::new(row.address.into(), row.port.get());
            (
                row.name.to_string(),
                format!("{address}, header {}{}", row.header, first(row.speaker)),
            )
        })
        .collect()
    }

    fn captured(&self, ids: &[BackendId]) -> BTreeMap<String, String> {
        let backends = ids.iter().filter_map(|id| self.0.rows.backends.get(id));
        backends
            .filter_map(|row| {
                let waypoint = self.waypoint_name(row.waypoint?)?;
                Some((row.address.to_string(), waypoint))
            })
            .collect()
    }

    /// Action and mode by name.
    fn policies(&self) -> BTreeMap<String, String> {
        let rows = self.0.rows.authorizations.values();
        let words = rows.map(|row| match row.mode {
            Mode::Enforce => (row.name.to_string(), row.action.to_string()),
            mode => (row.name.to_string(), format!("{}, {mode}", row.action)),
        });
        words.collect()
    }

    fn waypoint_name(&self, id: WaypointId) -> Option<String> {
        self.0
            .rows
            .waypoints
            .get(&id)
            .map(|row| format!("waypoint {}", row.name))
    }

    fn services(&self, ids: &BTreeSet<ServiceId>) -> BTreeMap<String, ServiceWords> {
        if ids.is_empty() {
            return BTreeMap::new();
        }
        let mut frontends: BTreeMap<ServiceId, Vec<&Frontend>> = BTreeMap::new();
        for frontend in self.0.rows.frontends.values() {
            if let Some(service) = frontend.service
                && ids.contains(&service)
            {
                frontends.entry(service).or_default().push(frontend);
            }
        }
        let of = |id| frontends.get(id).map_or(&[][..], Vec::as_slice);
        let services = ids.iter();
        let services = services.filter_map(|id| Some((id, self.0.rows.services.get(id)?)));
        services
            .map(|(id, row)| (Name::to_string(&row.name), self.service(row, of(id))))
            .collect()
    }

    fn service(&self, row: &Service, frontends: &[&Frontend]) -> ServiceWords {
        let frontend = |row: &&Frontend| {
            let address = SocketAddr::new(row.key.address.into(), row.key.port.get());
            (format!("{address}/{}", row.key.protocol), row.target.get())
        };
        ServiceWords {
            policy: row.policy.as_str(),
            picking: picking_words(&row.picking, &row.clients),
            waypoint: row.waypoint.and_then(|id| self.waypoint_name(id)),
            frontends: frontends.iter().map(frontend).collect(),
            endpoints: self.endpoints(row, frontends),
        }
    }

    fn endpoints(&self, row: &Service, frontends: &[&Frontend]) -> BTreeMap<String, EndpointWords> {
        let words = |priority, listed: &Listed| EndpointWords {
            priority,
            weight: listed.weight,
            max_connections: if row.picking.counts() {
                listed.limit
            } else {
                0
            },
        };
        let ranges = filled(&row.v4).chain(filled(&row.v6));
        let ranges = ranges.map(|(priority, range)| (Some(priority), range));
        ranges
            .chain([(None, &row.drained)])
            .flat_map(|(priority, range)| self.0.listed(range).map(move |it| (priority, it)))
            .map(|(priority, it)| (self.endpoint(&it, frontends), words(priority, &it)))
            .collect()
    }

    fn endpoint(&self, listed: &Listed, frontends: &[&Frontend]) -> String {
        let ports = frontends.iter().map(|it| it.key.port.get());
        match self.0.address(listed) {
            Some(address) => {
                let own = own_ports(frontends.iter().copied(), listed);
                title(address, &own, ports)
            }
            None => "an unknown backend".to_owned(),
        }
    }
}

impl std::fmt::Display for ServiceWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (frontends, endpoints) = (self.frontends.len(), self.endpoints.len());
        write!(
            f,
            "{}, {}, {}",
            self.policy,
            count(frontends, "frontend"),
            count(endpoints, "endpoint")
        )?;
        match &self.waypoint {
            Some(waypoint) => write!(f, ", {waypoint}"),
            None => Ok(()),
        }
    }
}

impl ServiceWords {
    fn changes(&self, new: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.policy != new.policy {
            changes.push(format!("policy {} becomes {}", self.policy, new.policy));
        }
        if self.picking != new.picking {
            changes.push(format!("{} becomes {}", self.picking, new.picking));
        }
        if self.waypoint != new.waypoint {
            let name = |waypoint: &Option<String>| {
                waypoint.clone().unwrap_or_else(|| "no waypoint".to_owned())
            };
            changes.push(format!(
                "{} becomes {}",
                name(&self.waypoint),
                name(&new.waypoint)
            ));
        }
        let frontend = |key: &String, target: &u16| format!("frontend {key} to port {target}");
        let endpoint = |key: &String, words: &EndpointWords| format!("endpoint {key}{words}");
        entries(&self.frontends, &new.frontends, frontend, &mut changes);
        entries(&self.endpoints, &new.endpoints, endpoint, &mut changes);
        changes
    }
}

fn entries<V: PartialEq>(
    before: &BTreeMap<String, V>,
    after: &BTreeMap<String, V>,
    text: impl Fn(&String, &V) -> String,
    changes: &mut Vec<String>,
) {
    for (key, old) in before {
        match after.get(key) {
            None => changes.push(format!("- {}", text(key, old))),
            Some(new) if new != old => {
                changes.push(format!("~ {} (was: {})", text(key, new), text(key, old)))
            }
            Some(_) => {}
        }
    }
    for (key, new) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        changes.push(format!("+ {}", text(key, new)));
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

fn first(speaker: Speaker) -> &'static str {
    if speaker == Speaker::Server {
        ", server first"
    } else {
        ""
    }
}
