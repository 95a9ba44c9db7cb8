//! Which operations lead from one to the other, and in which order.

use super::{Op, Plan};
use crate::model::Table;
use crate::tables::{
    Actual, Declared, Leftovers, Noun, Row, Tables, changed_ranges, counters, for_each_table,
};
use kmesh_lite_common::EndpointId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The plan from `actual` to `desired`; empty when they are equal and nothing is left over.
///
/// Rows are written before rows that refer to them, from waypoints to addresses, and taken away in
/// the opposite order. What makes every prefix safe is stronger than the order: up to the commit
/// the old versions count, all of them; from then on the new ones.
///
/// Endpoints with the ids `resumed` had departed and come back: they are counted on.
pub fn diff(actual: &Actual, desired: &Tables, resumed: &BTreeSet<EndpointId>) -> Plan {
    let now = &actual.tables;
    let mut ops = clear(&actual.leftovers, desired);
    let cleared = ops.len();
    // In tables that were never committed to, every counter is still zero.
    let (old_ranges, new_ranges) = changed_ranges(now, desired);
    if actual.generation > 0 {
        // An endpoint that was in a range that stays is not in one that comes.
        let (before, after) = (counters(&old_ranges), counters(&new_ranges));
        let new = after.difference(&before).copied();
        let new: Vec<_> = new.filter(|id| !resumed.contains(id)).collect();
        if !new.is_empty() {
            ops.push(Op::Count(new));
        }
    }
    // Rows that a table loses, and whether programs find them by their keys.
    let mut gone: Vec<(bool, Vec<Row>)> = Vec::new();
    for_each_table!(T => {
        if T::TABLE == Table::Services {
            // Services refer to ranges of endpoints.
            let puts = new_ranges.iter();
            ops.extend(puts.map(|(first, rows)| Op::PutRange(*first, Arc::clone(rows))));
        }
        let (now, desired) = (T::part(&now.rows), T::part(&desired.rows));
        let mut lost = Vec::new();
        for id in now.differing(desired) {
            match (desired.get(&id), now.get(&id)) {
                (Some(row), _) => ops.push(Op::Put(T::row(id, *row))),
                (None, Some(row)) => lost.push(T::row(id, *row)),
                (None, None) => {}
            }
        }
        gone.push((T::KEYS.is_some(), lost));
    });
    gone.reverse();

    // A row that programs find by its key must be seen to be gone at the commit. The others are then
    // out of reach by themselves.
    let found_by_key = gone.iter().filter(|(found_by_key, _)| *found_by_key);
    ops.extend(found_by_key.flat_map(|(_, rows)| rows.iter().cloned().map(Op::Retire)));
    if ops.len() > cleared {
        ops.push(Op::Commit);
    }
    ops.extend(gone.into_iter().flat_map(|(_, rows)| rows).map(Op::Free));

    callers(now, desired, &mut ops);
    Plan {
        // Only somebody else's number can be the last one; the reconciler then begins anew.
        generation: actual.generation.saturating_add(1),
        ops,
    }
}

/// Clears what does not count, before a commit could make it count.
fn clear(leftovers: &Leftovers, desired: &Tables) -> Vec<Op> {
    let mut ops = Vec::new();
    if !leftovers.keys.is_empty() {
        // A key that leads to no row can stay if its row is about to be put.
        let mut keys = BTreeSet::new();
        for_each_table!(T => {
            let rows = T::part(&desired.rows).values();
            keys.extend(rows.map(|row| T::wrap(T::key(row))));
        });
        ops.extend(leftovers.keys.difference(&keys).copied().map(Op::DropKey));
    }
    let slots = leftovers.slots.iter();
    ops.extend(slots.map(|(table, index)| Op::FreeSlot(*table, *index)));
    let versions = leftovers.versions.iter();
    ops.extend(versions.map(|(table, index)| Op::Scrub(*table, *index)));
    ops
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
    if now.accounting != desired.accounting {
        ops.push(Op::Accounting(desired.accounting));
    }
    for cgroup in now.callers.keys() {
        if !desired.callers.contains_key(cgroup) {
            ops.push(Op::DropCaller(*cgroup));
        }
    }
}
