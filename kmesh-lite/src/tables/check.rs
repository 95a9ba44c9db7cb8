//! Whether every reference in the tables resolves.

use super::declared::Row;
use super::endpoint::{length, ranges};
use super::rule::policies;
use super::taken::changed_ranges;
use super::{Tables, for_each_table};
use crate::model::Table;
use crate::tables::{Declared, Noun, Rules};
use kmesh_lite_common::{Endpoint, Frontend, Member, Rule, Service};
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
    if referring.contains(&Table::Services) || referring.contains(&Table::Authorizations) {
        for (id, row) in &tables.rows.rules {
            resolves(tables, &Row::Rule(*id, *row))?;
        }
    }
    Ok(())
}

/// Whether what a row refers to is there.
fn resolves(tables: &Tables, row: &Row) -> Result<(), Dangling> {
    let rows = &tables.rows;
    match row {
        Row::Waypoint(..) | Row::Authorization(..) => Ok(()),
        Row::Rule(_, row) => rule(tables, row),
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
    for range in ranges(service) {
        let rows = tables.endpoints.get(&range.first);
        if rows.is_none_or(|rows| rows.len() != length(range, service.columns)) {
            return dangling(from(), format!("endpoint range at {}", range.first));
        }
    }
    Ok(())
}

fn rule(tables: &Tables, row: &Rule) -> Result<(), Dangling> {
    let from = || Rules::name(&row.key);
    let service = row.key.service;
    if !service.is_some_and(|id| tables.rows.services.contains_key(&id)) {
        return dangling(from(), format!("service {service:?}"));
    }
    let named = policies(row).into_iter().filter_map(|(_, id)| id);
    for id in named {
        if !tables.rows.authorizations.contains_key(&id) {
            return dangling(from(), format!("policy {id}"));
        }
    }
    Ok(())
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
