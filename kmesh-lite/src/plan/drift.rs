//! Differences to what was written.

use super::words;
use crate::tables::{Actual, Declared, ForEach, Tables, for_each};

/// What it means, in words, that `actual` is not what the last pass left; then a line for each row
/// that is not, and for each thing in the way that it did not leave there.
pub fn drift(written: &Tables, actual: &Actual) -> Vec<String> {
    let (now, leftovers) = (&actual.tables, &actual.leftovers);
    // Every pass asks, and hardly ever is there anything to look for.
    if written == now && leftovers.is_empty() {
        return Vec::new();
    }
    let mut changes = Changes {
        written,
        now,
        lines: words(written, now),
    };
    for_each(&mut changes);
    let mut lines = changes.lines;
    if written.callers != now.callers || written.caller_levels != now.caller_levels {
        lines.push("callers were changed".to_owned());
    }
    lines.extend(leftovers.keys.iter().map(|key| {
        let (name, noun) = key.title();
        format!("key {name} leads to no {noun}")
    }));
    let slots = leftovers.slots.iter().chain(&leftovers.versions);
    lines.extend(slots.map(|(table, index)| {
        format!("{table} #{} holds something that does not count", index + 1)
    }));
    lines
}

struct Changes<'a> {
    written: &'a Tables,
    now: &'a Tables,
    lines: Vec<String>,
}

impl ForEach for Changes<'_> {
    fn table<T: Declared>(&mut self) {
        if T::TABLE == crate::model::Table::Services {
            self.ranges();
        }
        let (written, now) = (T::part(&self.written.rows), T::part(&self.now.rows));
        for (id, before) in written {
            let change = match now.get(id) {
                None => "is missing",
                Some(there) if there != before => "was changed",
                Some(_) => continue,
            };
            let title = T::row(*id, *before).title();
            self.lines.push(format!("{title} {change}"));
        }
        for (id, there) in now.iter().filter(|(id, _)| !written.contains_key(id)) {
            let title = T::row(*id, *there).title();
            self.lines.push(format!("{title} was added"));
        }
    }
}

impl Changes<'_> {
    fn ranges(&mut self) {
        for (first, rows) in &self.written.endpoints {
            if self.now.endpoints.get(first) != Some(rows) {
                let end = *first as usize + rows.len();
                self.lines
                    .push(format!("endpoints [{first}..{end}] were changed"));
            }
        }
    }
}
