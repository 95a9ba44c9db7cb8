//! Differences between two states, found without looking anything up: both are in order.

use crate::tables::{self, Tables};
use kmesh_lite_common::ServiceId;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Services that are the same in both, with everything that they lead to.
pub fn unchanged_services(before: &Tables, after: &Tables) -> BTreeSet<ServiceId> {
    if before.rows.waypoints != after.rows.waypoints {
        return BTreeSet::new();
    }
    let backends: BTreeSet<_> = differing(&before.rows.backends, &after.rows.backends)
        .into_iter()
        .collect();
    let services: BTreeSet<_> = differing(&before.rows.services, &after.rows.services)
        .into_iter()
        .collect();
    let ranges: BTreeSet<_> = differing(&before.endpoints, &after.endpoints)
        .into_iter()
        .collect();
    let mut others = BTreeSet::new();
    for id in differing(&before.rows.frontends, &after.rows.frontends) {
        let rows = [
            before.rows.frontends.get(&id),
            after.rows.frontends.get(&id),
        ];
        others.extend(rows.into_iter().flatten().filter_map(|row| row.service));
    }
    let same_range = |first: u32| {
        let rows = after.endpoints.get(&first).into_iter().flatten();
        let mut ids = rows.filter_map(|row| row.own.backend);
        !ranges.contains(&first) && (backends.is_empty() || ids.all(|id| !backends.contains(&id)))
    };
    let same = after.rows.services.iter().filter(|(id, row)| {
        let mut used = tables::ranges(row);
        !services.contains(id) && !others.contains(id) && used.all(|range| same_range(range.first))
    });
    same.map(|(id, _)| *id).collect()
}

/// Keys whose values differ, or that only one side has, in order.
pub fn differing<K: Ord + Copy, V: PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> Vec<K> {
    let mut keys = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((old, _)), Some((new, _))) => old.cmp(new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return keys,
        };
        let old = old.next_if(|_| order.is_le());
        let new = new.next_if(|_| order.is_ge());
        if let Some((key, _)) = old.or(new)
            && old != new
        {
            keys.push(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn differing_keys_are_those_that_lookups_find(
            before: BTreeMap<u8, bool>,
            after: BTreeMap<u8, bool>,
        ) {
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
            let expected = keys.into_iter().filter(|key| before.get(key) != after.get(key));
            prop_assert_eq!(differing(&before, &after), expected.collect::<Vec<_>>());
        }
    }
}
