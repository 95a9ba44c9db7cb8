//! Whether every reference in the tables resolves.

use super::declared::Row;
use super::endpoint::{length, ranges};
use super::guard::{of_matching, policies};
use super::taken::changed_ranges;
use super::{Tables, for_each_table};
use crate::model::Table;
use crate::tables::{Declared, Destinations, Noun, Rules, Sources};
use kmesh_lite_common::{AuthorizationId, Endpoint, Frontend, GuardId, Judgement, Member, Service};
use kmesh_lite_ebpf::in_use;
use std::collections::BTreeSet;

/// A reference to a row that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from} refers to {to}, which does not exist")]
pub struct Dangling {
    pub from: String,
    pub to: String,
}

fn dangling(from: String, to: String) -> Result<(), Dangling> {
    Err(Dangling { from, to })
}

/// The first reference that does not resolve, if there is one.
pub fn check(tables: &Tables) -> Result<(), Dangling> {
    for_each_table!(T => {
        for (id, row) in T::part(&tables.rows) {
            resolves(tables, &T::row(*id, *row))?;
        }
    });
    let mut ranges = tables.endpoints.iter();
    ranges.try_for_each(|(first, rows)| range(tables, *first, rows))
}

/// The same where every reference in `before` resolves: what differs is looked at, and what refers to rows that
/// are gone.
pub fn check_since(before: &Tables, tables: &Tables) -> Result<(), Dangling> {
    // Rows that refer to others, of tables that lost a row.
    let mut referring = BTreeSet::new();
    let backends = before
        .rows
        .backends
        .differing(&tables.rows.backends)
        .into_iter();
    let lost: Vec<_> = backends
        .filter(|id| !tables.rows.backends.contains_key(id))
        .collect();
    for_each_table!(T => {
        let (before, after) = (T::part(&before.rows), T::part(&tables.rows));
        for id in before.differing(after) {
            match after.get(&id) {
                Some(row) => resolves(tables, &T::row(id, *row))?,
                None => drop(referring.insert(T::TABLE)),
            }
        }
    });
    for (first, rows) in changed_ranges(before, tables).1 {
        range(tables, first, rows)?;
    }
    if !lost.is_empty() {
        let is_lost = |member: Member| member.backend.is_some_and(|id| lost.contains(&id));
        for (first, rows) in &tables.endpoints {
            if rows
                .iter()
                .any(|row| is_lost(row.own) || is_lost(row.alias))
            {
                range(tables, *first, rows)?;
            }
        }
        for (id, row) in &tables.rows.addresses {
            resolves(tables, &Row::Address(*id, *row))?;
        }
    }
    if referring.contains(&Table::Waypoints) {
        for (id, row) in &tables.rows.backends {
            resolves(tables, &Row::Backend(*id, *row))?;
        }
    }
    if referring.contains(&Table::Waypoints) {
        for (id, row) in &tables.rows.services {
            resolves(tables, &Row::Service(*id, (*row).into()))?;
        }
    }
    if referring.contains(&Table::Services) {
        for (id, row) in &tables.rows.frontends {
            resolves(tables, &Row::Frontend(*id, *row))?;
        }
    }
    if referring.contains(&Table::Authorizations) {
        for (id, row) in &tables.rows.guards {
            resolves(tables, &Row::Guard(*id, (*row).into()))?;
        }
    }
    if referring.contains(&Table::Guards) {
        for (id, row) in &tables.rows.services {
            resolves(tables, &Row::Service(*id, (*row).into()))?;
        }
        for (id, row) in &tables.rows.destinations {
            resolves(tables, &Row::Destination(*id, *row))?;
        }
    }
    if referring.contains(&Table::Guards) || referring.contains(&Table::Authorizations) {
        for (id, row) in &tables.rows.rules {
            resolves(tables, &Row::Rule(*id, *row))?;
        }
        for (id, row) in &tables.rows.sources {
            resolves(tables, &Row::Source(*id, *row))?;
        }
    }
    Ok(())
}

/// Whether what a row refers to is there.
fn resolves(tables: &Tables, row: &Row) -> Result<(), Dangling> {
    let rows = &tables.rows;
    match row {
        Row::Waypoint(..) | Row::Authorization(..) => Ok(()),
        Row::Guard(_, row) => {
            policies_exist(tables, policies(row), || format!("guard {}", row.name))
        }
        Row::Rule(_, row) => {
            let from = || Rules::name(&row.key);
            guard_exists(tables, row.key.guard, from)?;
            policies_exist(tables, of_matching(&row.matching), from)
        }
        Row::Destination(_, row) => {
            guard_exists(tables, row.guard, || Destinations::name(&row.key))
        }
        Row::Source(_, row) => {
            let from = || Sources::name(&row.key);
            guard_exists(tables, row.key.guard, from)?;
            let Judgement { denied, audited } = row.judgement;
            policies_exist(tables, [("denied", denied), ("audited", audited)], from)
        }
        Row::Backend(id, row) => match row.waypoint {
            Some(waypoint) if !rows.waypoints.contains_key(&waypoint) => {
                dangling(format!("backend {id}"), format!("waypoint {waypoint}"))
            }
            _ => Ok(()),
        },
        Row::Service(_, row) => service(tables, row),
        Row::Frontend(_, row) => frontend(tables, row),
        Row::Address(_, row) => match row.backend {
            Some(backend) if !rows.backends.contains_key(&backend) => dangling(
                format!("address {}", row.address),
                format!("backend {backend}"),
            ),
            _ => Ok(()),
        },
    }
}

fn range(tables: &Tables, first: u32, rows: &[Endpoint]) -> Result<(), Dangling> {
    let members = rows.iter().flat_map(|row| [row.own, row.alias]);
    for backend in members.map(|member| member.backend) {
        if !backend.is_some_and(|id| tables.rows.backends.contains_key(&id)) {
            return dangling(
                format!("endpoint range at {first}"),
                format!("backend {backend:?}"),
            );
        }
    }
    Ok(())
}

fn service(tables: &Tables, service: &Service) -> Result<(), Dangling> {
    let from = || format!("service {}", service.name);
    if let Some(waypoint) = service.waypoint
        && !tables.rows.waypoints.contains_key(&waypoint)
    {
        return dangling(from(), format!("waypoint {waypoint}"));
    }
    if let Some(guard) = service.guard {
        guard_exists(tables, Some(guard), from)?;
    }
    for range in ranges(service) {
        let rows = tables.endpoints.get(&range.first);
        if rows.is_none_or(|rows| rows.len() != length(range, service.columns)) {
            return dangling(from(), format!("endpoint range at {}", range.first));
        }
    }
    Ok(())
}

fn guard_exists(
    tables: &Tables,
    guard: Option<GuardId>,
    from: impl Fn() -> String,
) -> Result<(), Dangling> {
    match guard {
        Some(id) if tables.rows.guards.contains_key(&id) => Ok(()),
        guard => dangling(from(), format!("guard {guard:?}")),
    }
}

fn policies_exist(
    tables: &Tables,
    named: impl IntoIterator<Item = (&'static str, Option<AuthorizationId>)>,
    from: impl Fn() -> String,
) -> Result<(), Dangling> {
    let mut named = named.into_iter().filter_map(|(_, id)| id);
    match named.find(|id| !tables.rows.authorizations.contains_key(id)) {
        Some(id) => dangling(from(), format!("policy {id}")),
        None => Ok(()),
    }
}

fn frontend(tables: &Tables, frontend: &Frontend) -> Result<(), Dangling> {
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
        || frontend.picking != service.picking
    {
        return dangling(from(), "endpoints that are not those in use".to_owned());
    }
    Ok(())
}
