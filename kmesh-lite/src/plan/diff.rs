//! Which operations lead from one to the other, and in which order.

use super::same::differing;
use super::{Op, Plan, Row};
use crate::tables::{Actual, Leftovers, Tables};
use std::collections::{BTreeMap, BTreeSet};

/// The plan from `actual` to `desired`; empty when they are equal and nothing is left over.
///
/// Rows are written before rows that refer to them, from waypoints to addresses, and taken away in
/// the opposite order. What makes every prefix safe is stronger than the order: up to the commit
/// the old versions count, all of them; from then on the new ones.
pub fn diff(actual: &Actual, desired: &Tables) -> Plan {
    let (now, leftovers) = (&actual.tables, &actual.leftovers);
    let mut ops = clear(leftovers, desired);
    let cleared = ops.len();

    ops.extend(changed(&now.waypoints, &desired.waypoints, Row::Waypoint).map(Op::Put));
    ops.extend(changed(&now.backends, &desired.backends, Row::Backend).map(Op::Put));
    for first in differing(&now.endpoints, &desired.endpoints) {
        if let Some(rows) = desired.endpoints.get(&first) {
            ops.push(Op::PutRange(first, rows.clone()));
        }
    }
    ops.extend(changed(&now.services, &desired.services, Row::Service).map(Op::Put));
    ops.extend(changed(&now.frontends, &desired.frontends, Row::Frontend).map(Op::Put));
    ops.extend(changed(&now.addresses, &desired.addresses, Row::Address).map(Op::Put));

    // Rows that are found by key must be seen to be gone at the commit. The others are then out of
    // reach by themselves.
    let gone_addresses: Vec<_> = gone(&now.addresses, &desired.addresses, Row::Address).collect();
    let gone_frontends: Vec<_> = gone(&now.frontends, &desired.frontends, Row::Frontend).collect();
    ops.extend(gone_addresses.iter().copied().map(Op::Retire));
    ops.extend(gone_frontends.iter().copied().map(Op::Retire));

    if ops.len() > cleared {
        ops.push(Op::Commit);
    }

    ops.extend(gone_addresses.into_iter().map(Op::Free));
    ops.extend(gone_frontends.into_iter().map(Op::Free));
    ops.extend(gone(&now.services, &desired.services, Row::Service).map(Op::Free));
    ops.extend(gone(&now.backends, &desired.backends, Row::Backend).map(Op::Free));
    ops.extend(gone(&now.waypoints, &desired.waypoints, Row::Waypoint).map(Op::Free));

    callers(now, desired, &mut ops);
    Plan {
        // Only somebody else's number can be the last one; `Kernel` then begins anew.
        generation: actual.generation.saturating_add(1),
        ops,
    }
}

/// Clears what does not count, before a commit could make it count.
fn clear(leftovers: &Leftovers, desired: &Tables) -> Vec<Op> {
    // A key without a row is in nobody's way if its row is about to be put.
    let addresses: BTreeSet<_> = desired.addresses.values().map(|row| row.address).collect();
    let frontends: BTreeSet<_> = desired.frontends.values().map(|row| row.key).collect();
    let mut ops = Vec::new();
    ops.extend(
        leftovers
            .addresses
            .difference(&addresses)
            .copied()
            .map(Op::DropAddress),
    );
    ops.extend(
        leftovers
            .frontends
            .difference(&frontends)
            .copied()
            .map(Op::DropFrontend),
    );
    ops.extend(
        leftovers
            .slots
            .iter()
            .map(|(table, index)| Op::FreeSlot(*table, *index)),
    );
    ops.extend(
        leftovers
            .versions
            .iter()
            .map(|(table, index)| Op::Scrub(*table, *index)),
    );
    ops
}

/// Rows of `desired` that `now` lacks or has otherwise.
fn changed<I: Ord + Copy, T: PartialEq + Copy>(
    now: &BTreeMap<I, T>,
    desired: &BTreeMap<I, T>,
    row: impl Fn(I, T) -> Row,
) -> impl Iterator<Item = Row> {
    differing(now, desired)
        .into_iter()
        .filter_map(move |id| Some(row(id, *desired.get(&id)?)))
}

/// Rows of `now` that `desired` lacks.
fn gone<I: Ord + Copy, T: PartialEq + Copy>(
    now: &BTreeMap<I, T>,
    desired: &BTreeMap<I, T>,
    row: impl Fn(I, T) -> Row,
) -> impl Iterator<Item = Row> {
    differing(now, desired)
        .into_iter()
        .filter(|id| !desired.contains_key(id))
        .filter_map(move |id| Some(row(id, *now.get(&id)?)))
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
