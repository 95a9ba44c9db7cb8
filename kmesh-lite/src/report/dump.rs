//! The kernel's tables, row by row, with names beside ids.

use crate::api::Row;
use crate::model::Table;
use crate::tables::{Actual, Declared, Field, Fields, Noun, Tables, for_each_table, ranges};
use kmesh_lite_common::{BackendId, LAYOUT_VERSION, Port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Writes every table as JSON, a row a line: rows stand before those that they refer to. Only one row
/// is held at a time, because there may be millions.
pub fn dump(actual: &Actual, to: &mut dyn Write) -> io::Result<()> {
    let tables = &actual.tables;
    let settings =
        json!({ "generation": actual.generation, "caller_levels": tables.caller_levels });
    let mut of_slots: Vec<(&str, Rows)> = Vec::new();
    for_each_table!(T => {
        if T::TABLE == Table::Services {
            of_slots.push((Table::Endpoints.as_str(), Box::new(endpoints(tables))));
        }
        let rows = T::part(&tables.rows).iter().map(|(id, row)| {
            let number = ("id".to_owned(), (T::index(*id) + 1).into());
            let columns = fields(tables, T::fields(row));
            Value::Object([number].into_iter().chain(columns).collect())
        });
        of_slots.push((T::TABLE.as_str(), Box::new(rows)));
    });
    let settings: Rows = Box::new([settings].into_iter());
    let others: [(&str, Rows); 2] = [
        ("callers", Box::new(callers(tables))),
        ("leftovers", Box::new(leftovers(actual))),
    ];
    let all = [("settings", settings)].into_iter();
    let all = all.chain(of_slots.into_iter().rev()).chain(others);
    write!(to, "{{\"layout_version\":{LAYOUT_VERSION},\"tables\":[")?;
    for (number, (name, rows)) in all.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(to, "{comma}\n{{\"name\":\"{name}\",\"rows\":[")?;
        for (number, row) in rows.enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(to, "{comma}\n{row}")?;
        }
        write!(to, "]}}")?;
    }
    writeln!(to, "]}}")?;
    to.flush()
}

type Rows<'a> = Box<dyn Iterator<Item = Value> + 'a>;

fn fields(tables: &Tables, row: Fields) -> Row {
    let fields = row.into_iter();
    fields
        .map(|(name, field)| (name.to_owned(), value(tables, field)))
        .collect()
}

fn value(tables: &Tables, field: Field) -> Value {
    match field {
        Field::Text(text) => text.into(),
        Field::Number(number) => number.into(),
        Field::Reference(row) => row
            .and_then(|(table, index)| tables.name(table, index))
            .into(),
        Field::List(rows) => {
            let rows = rows.into_iter();
            rows.map(|row| Value::Object(fields(tables, row))).collect()
        }
    }
}

fn endpoints(tables: &Tables) -> impl Iterator<Item = Value> {
    let address = |id: Option<BackendId>| tables.name(Table::Backends, id?.index());
    let port = |port: Port| Some(port.get()).filter(|port| *port != 0);
    let counted = seats(tables);
    tables.endpoints.iter().flat_map(move |(first, rows)| {
        let count = counted.get(first).copied();
        (*first..)
            .zip(rows.iter())
            .enumerate()
            .map(move |(at, (index, row))| {
                let (mut alias, mut limit) = (row.alias, None);
                if let Some(count) = count {
                    let seat = row.as_seat();
                    // The number of a row of the same column.
                    let column = at - at % count.max(1) as usize;
                    let there = rows.get(column + seat.alias as usize);
                    alias = there.map_or(row.own, |row| row.own);
                    limit = Some(seat.limit).filter(|limit| *limit != 0);
                }
                let mut fields = json!({
                    "row": index,
                    "backend": address(row.own.backend),
                    "port": port(row.own.port),
                    "counter": row.own.endpoint.map(|id| id.index() + 1),
                    "weight": row.weight,
                    "keep": row.keep,
                    "alias": address(alias.backend),
                    "alias_port": port(alias.port),
                });
                if let Some(seat) = row.in_maglev() {
                    fields["slots"] = seat.slots.into();
                }
                if let Some(limit) = limit {
                    fields["max_connections"] = limit.into();
                }
                fields
            })
    })
}

/// The ranges of seats, by their first rows, with the number of rows in a column.
fn seats(tables: &Tables) -> BTreeMap<u32, u32> {
    let services = tables.rows.services.values();
    let counted = services.filter(|row| row.picking.has_seats());
    let ranges = counted.flat_map(ranges);
    ranges.map(|range| (range.first, range.count)).collect()
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
    let keys = leftovers.keys.iter();
    let keys = keys.map(|key| json!({ "table": key.table().as_str(), "key": key.to_string() }));
    slots.chain(keys)
}
