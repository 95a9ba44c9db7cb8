//! Which operations lead from one to the other, and in which order.

use super::differing::differing;
use super::{Op, Plan};
use crate::model::Table;
use crate::tables::{Actual, Declared, ForEach, Key, Leftovers, Row, Tables, for_each};
use std::collections::BTreeSet;

/// The plan from `actual` to `desired`; empty when they are equal and nothing is left over.
///
/// Rows are written before rows that refer to them, from waypoints to addresses, and taken away in
/// the opposite order. What makes every prefix safe is stronger than the order: up to the commit
/// the old versions count, all of them; from then on the new ones.
pub fn diff(actual: &Actual, desired: &Tables) -> Plan {
    let now = &actual.tables;
    let mut ops = clear(&actual.leftovers, desired);
    let cleared = ops.len();
    let mut change = Change {
        now,
        desired,
        put: Vec::new(),
        gone: Vec::new(),
    };
    for_each(&mut change);
    ops.extend(change.put);

    // A row that programs find by its key must be seen to be gone at the commit. The others are then
    // out of reach by themselves.
    let gone = || change.gone.iter().rev();
    let found_by_key = gone().filter(|table| table.found_by_key);
    ops.extend(found_by_key.flat_map(|table| table.rows.iter().copied().map(Op::Retire)));
    if ops.len() > cleared {
        ops.push(Op::Commit);
    }
    ops.extend(gone().flat_map(|table| table.rows.iter().copied().map(Op::Free)));

    callers(now, desired, &mut ops);
    Plan {
        // Only somebody else's number can be the last one; the reconciler then begins anew.
        generation: actual.generation.saturating_add(1),
        ops,
    }
}

/// Rows that come and go, table by table.
struct Change<'a> {
    now: &'a Tables,
    desired: &'a Tables,
    put: Vec<Op>,
    gone: Vec<Gone>,
}

/// Rows that one table loses.
struct Gone {
    found_by_key: bool,
    rows: Vec<Row>,
}

impl ForEach for Change<'_> {
    fn table<T: Declared>(&mut self) {
        if T::TABLE == Table::Services {
            self.ranges();
        }
        let (now, desired) = (T::part(&self.now.rows), T::part(&self.desired.rows));
        let mut rows = Vec::new();
        for id in differing(now, desired) {
            match (desired.get(&id), now.get(&id)) {
                (Some(row), _) => self.put.push(Op::Put(T::row(id, *row))),
                (None, Some(row)) => rows.push(T::row(id, *row)),
                (None, None) => {}
            }
        }
        self.gone.push(Gone {
            found_by_key: T::KEYS.is_some(),
            rows,
        });
    }
}

impl Change<'_> {
    /// Ranges of endpoints, to which services refer.
    fn ranges(&mut self) {
        for first in differing(&self.now.endpoints, &self.desired.endpoints) {
            if let Some(rows) = self.desired.endpoints.get(&first) {
                self.put.push(Op::PutRange(first, rows.clone()));
            }
        }
    }
}

/// Clears what does not count, before a commit could make it count.
fn clear(leftovers: &Leftovers, desired: &Tables) -> Vec<Op> {
    let mut ops = Vec::new();
    if !leftovers.keys.is_empty() {
        // A key without a row is in nobody's way if its row is about to be put.
        let mut keys = Keys(desired, BTreeSet::new());
        for_each(&mut keys);
        ops.extend(leftovers.keys.difference(&keys.1).copied().map(Op::DropKey));
    }
    let slots = leftovers.slots.iter();
    ops.extend(slots.map(|(table, index)| Op::FreeSlot(*table, *index)));
    let versions = leftovers.versions.iter();
    ops.extend(versions.map(|(table, index)| Op::Scrub(*table, *index)));
    ops
}

/// The keys by which programs find rows.
struct Keys<'a>(&'a Tables, BTreeSet<Key>);

impl ForEach for Keys<'_> {
    fn table<T: Declared>(&mut self) {
        if T::KEYS.is_some() {
            let rows = T::part(&self.0.rows).values();
            self.1.extend(rows.map(|row| T::wrap(T::key(row))));
        }
    }
}

/// Callers are facts about processes, not part of the mesh: they count at once.
fn callers(now: &Tables, desired: &Tables, ops: &mut Vec<Op>) {
    for (cgroup, caller) in &desired.callers {
        if now.callers.get(cgroup) != Some(caller) {
            ops.push(Op::PutCaller(*cgroup, *caller));
        }
    }
    if now.caller_levels != desired.caller_levels {
        ops.push(Op::CallerLevels(desired.caller_levels));
    }
    for cgroup in now.callers.keys() {
        if !desired.callers.contains_key(cgroup) {
            ops.push(Op::DropCaller(*cgroup));
        }
    }
}
