//! The kernel's tables, row by row, with names beside ids.

use crate::api::{Dump, DumpTable, Row};
use crate::tables::{Actual, Tables};
use kmesh_lite_common::{BackendId, LAYOUT_VERSION, Range, ServiceId, WaypointId};
use serde_json::{Value, json};

pub fn dump(actual: &Actual) -> Dump {
    let tables = &actual.tables;
    let settings =
        json!({ "generation": actual.generation, "caller_levels": tables.caller_levels });
    Dump {
        layout_version: LAYOUT_VERSION,
        tables: vec![
            table("settings", [settings]),
            table("addresses", addresses(tables)),
            table("frontends", frontends(tables)),
            table("services", services(tables)),
            table("endpoints", endpoints(tables)),
            table("backends", backends(tables)),
            table("waypoints", waypoints(tables)),
            table("callers", callers(tables)),
            table("leftovers", leftovers(actual)),
        ],
    }
}

fn table(name: &str, rows: impl IntoIterator<Item = Value>) -> DumpTable {
    let rows = rows.into_iter().map(|row| match row {
        Value::Object(row) => row,
        _ => Row::new(),
    });
    DumpTable {
        name: name.to_owned(),
        rows: rows.collect(),
    }
}

fn service_name(tables: &Tables, id: Option<ServiceId>) -> Option<String> {
    tables.services.get(&id?).map(|row| row.name.to_string())
}

fn waypoint_name(tables: &Tables, id: Option<WaypointId>) -> Option<String> {
    tables.waypoints.get(&id?).map(|row| row.name.to_string())
}

fn backend_address(tables: &Tables, id: Option<BackendId>) -> Option<String> {
    tables.backends.get(&id?).map(|row| row.address.to_string())
}

fn addresses(tables: &Tables) -> impl Iterator<Item = Value> {
    tables.addresses.iter().map(|(id, row)| {
        json!({
            "id": id.index() + 1,
            "address": row.address.to_string(),
            "kind": row.kind.as_str(),
            "backend": backend_address(tables, row.backend),
        })
    })
}

fn frontends(tables: &Tables) -> impl Iterator<Item = Value> {
    tables.frontends.iter().map(|(id, row)| {
        json!({
            "id": id.index() + 1,
            "address": row.key.address.to_string(),
            "port": row.key.port.get(),
            "protocol": row.key.protocol.as_str(),
            "service": service_name(tables, row.service),
            "target": row.target.get(),
        })
    })
}

fn services(tables: &Tables) -> impl Iterator<Item = Value> {
    let ranges = |ranges: &[Range]| -> Vec<Value> {
        let filled = ranges
            .iter()
            .enumerate()
            .filter(|(_, range)| range.count > 0);
        filled
            .map(|(priority, range)| {
                json!({ "priority": priority, "first": range.first, "count": range.count, "total_weight": range.total })
            })
            .collect()
    };
    tables.services.iter().map(move |(id, row)| {
        json!({
            "id": id.index() + 1,
            "name": row.name.as_str(),
            "policy": row.policy.as_str(),
            "waypoint": waypoint_name(tables, row.waypoint),
            "v4": ranges(&row.v4),
            "v6": ranges(&row.v6),
        })
    })
}

fn endpoints(tables: &Tables) -> impl Iterator<Item = Value> {
    tables.endpoints.iter().flat_map(|(first, rows)| {
        (*first..).zip(rows).map(|(index, row)| {
            json!({
                "row": index,
                "backend": backend_address(tables, row.backend),
                "weight": row.weight,
                "keep": row.keep,
                "alias": backend_address(tables, row.alias),
            })
        })
    })
}

fn backends(tables: &Tables) -> impl Iterator<Item = Value> {
    tables.backends.iter().map(|(id, row)| {
        json!({
            "id": id.index() + 1,
            "address": row.address.to_string(),
            "waypoint": waypoint_name(tables, row.waypoint),
        })
    })
}

fn waypoints(tables: &Tables) -> impl Iterator<Item = Value> {
    tables.waypoints.iter().map(|(id, row)| {
        json!({
            "id": id.index() + 1,
            "name": row.name.as_str(),
            "address": row.address.to_string(),
            "port": row.port.get(),
            "header": row.header.as_str(),
        })
    })
}

fn callers(tables: &Tables) -> impl Iterator<Item = Value> {
    let callers = tables.callers.iter();
    callers.map(|(cgroup, caller)| json!({ "cgroup": cgroup, "caller": caller.as_str() }))
}

/// What counts for nothing: an interrupted pass, or somebody else, left it.
fn leftovers(actual: &Actual) -> impl Iterator<Item = Value> {
    let leftovers = &actual.leftovers;
    let slots = leftovers.slots.iter().chain(&leftovers.versions);
    let slots = slots.map(|(table, index)| json!({ "table": table.as_str(), "id": index + 1 }));
    let addresses = leftovers
        .addresses
        .iter()
        .map(|key| json!({ "table": "addresses", "key": key.to_string() }));
    let frontends = leftovers.frontends.iter().map(|key| {
        json!({ "table": "frontends", "key": format!("{}:{}/{}", key.address, key.port, key.protocol) })
    });
    slots.chain(addresses).chain(frontends)
}
