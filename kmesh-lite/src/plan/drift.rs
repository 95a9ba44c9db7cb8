//! Differences to what was written.

use super::summary;
use crate::model::Table;
use crate::tables::{Actual, Declared, Tables, for_each_table};

/// What it means, in words, that `actual` is not what the last pass left; then a line for each row
/// that is not, and for each thing in the way that it did not leave there.
pub fn drift(written: &Tables, actual: &Actual) -> Vec<String> {
    let (now, leftovers) = (&actual.tables, &actual.leftovers);
    // Every pass asks, and hardly ever is there anything to look for.
    if written == now && leftovers.is_empty() {
        return Vec::new();
    }
    let mut lines = summary(written, now);
    for_each_table!(T => {
        if T::TABLE == Table::Services {
            for (first, rows) in &written.endpoints {
                if now.endpoints.get(first) != Some(rows) {
                    let end = *first as usize + rows.len();
                    lines.push(format!("endpoints [{first}..{end}] were changed"));
                }
            }
        }
        let (written, now) = (T::part(&written.rows), T::part(&now.rows));
        for (id, before) in written {
            let change = match now.get(id) {
                None => "is missing",
                Some(there) if there != before => "was changed",
                Some(_) => continue,
            };
            lines.push(format!("{} {change}", T::row(*id, *before).title()));
        }
        for (id, there) in now.iter().filter(|(id, _)| !written.contains_key(*id)) {
            lines.push(format!("{} was added", T::row(*id, *there).title()));
        }
    });
    if written.accounting != now.accounting {
        lines.push("accounting was switched".to_owned());
    }
    if written.callers != now.callers || written.caller_levels != now.caller_levels {
        lines.push("callers were changed".to_owned());
    }
    let keys = leftovers.keys.iter();
    lines.extend(keys.map(|key| format!("key {key} leads to no {}", key.noun())));
    let slots = leftovers.slots.iter().chain(&leftovers.versions);
    lines.extend(slots.map(|(table, index)| {
        format!("{table} #{} holds something that does not count", index + 1)
    }));
    lines
}
