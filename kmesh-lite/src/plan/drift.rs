//! What is not as it was written.

use super::{Row, words};
use crate::tables::{Actual, Tables};
use std::collections::BTreeMap;

/// What it means, in words, that `actual` is not what the last pass left; then a line for each row
/// that is not, and for each thing in the way that it did not leave there.
pub fn drift(written: &Tables, actual: &Actual) -> Vec<String> {
    let (now, leftovers) = (&actual.tables, &actual.leftovers);
    // Every pass asks, and hardly ever is there anything to look for.
    if written == now && leftovers.is_empty() {
        return Vec::new();
    }
    let mut lines = words(written, now);
    rows(
        &written.waypoints,
        &now.waypoints,
        Row::Waypoint,
        &mut lines,
    );
    rows(&written.backends, &now.backends, Row::Backend, &mut lines);
    for (first, rows) in &written.endpoints {
        if now.endpoints.get(first) != Some(rows) {
            lines.push(format!(
                "endpoints [{first}..{}] were changed",
                *first as usize + rows.len()
            ));
        }
    }
    rows(&written.services, &now.services, Row::Service, &mut lines);
    rows(
        &written.frontends,
        &now.frontends,
        Row::Frontend,
        &mut lines,
    );
    rows(&written.addresses, &now.addresses, Row::Address, &mut lines);
    if written.callers != now.callers || written.caller_levels != now.caller_levels {
        lines.push("callers were changed".to_owned());
    }
    lines.extend(
        leftovers
            .addresses
            .iter()
            .map(|key| format!("key {key} leads to no address")),
    );
    lines.extend(leftovers.frontends.iter().map(|key| {
        format!(
            "key {}:{}/{} leads to no frontend",
            key.address, key.port, key.protocol
        )
    }));
    let slots = leftovers.slots.iter().chain(&leftovers.versions);
    lines.extend(slots.map(|(table, index)| {
        format!("{table} #{} holds something that does not count", index + 1)
    }));
    lines
}

fn rows<I: Ord + Copy, T: PartialEq + Copy>(
    written: &BTreeMap<I, T>,
    now: &BTreeMap<I, T>,
    row: impl Fn(I, T) -> Row,
    lines: &mut Vec<String>,
) {
    for (id, before) in written {
        let row = row(*id, *before);
        match now.get(id) {
            None => lines.push(format!("{} {} is missing", row.noun(), row.key())),
            Some(there) if there != before => {
                lines.push(format!("{} {} was changed", row.noun(), row.key()))
            }
            Some(_) => {}
        }
    }
    for (id, there) in now.iter().filter(|(id, _)| !written.contains_key(id)) {
        let row = row(*id, *there);
        lines.push(format!("{} {} was added", row.noun(), row.key()));
    }
}
