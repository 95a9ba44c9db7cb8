//! Alias tables: rows for a weighted choice in constant time.

use kmesh_lite_common::{Endpoint, Member, Seat};

/// Rows for `members`, in their order, and the sum of their weights. A member of weight 0 is never drawn.
pub fn rows(members: &[(Member, u32)]) -> (Vec<Endpoint>, u32) {
    let table = Table::of(members);
    let rows = members.iter().zip(&table.parts);
    let rows = rows.map(|(&(own, weight), part)| Endpoint {
        own,
        alias: members[part.alias].0,
        keep: part.keep,
        weight,
    });
    (rows.collect(), table.total)
}

/// The same where connections are counted, with a limit for each member.
pub fn seats(members: &[(Member, u32)], limits: impl Iterator<Item = u32>) -> (Vec<Endpoint>, u32) {
    let table = Table::of(members);
    let rows = members.iter().zip(limits).zip(&table.parts);
    let rows = rows.map(|((&(own, weight), limit), part)| {
        Seat::new(own, limit, part.alias as u32, part.keep, weight).into()
    });
    (rows.collect(), table.total)
}

/// Rows for slots with these `owners`, by the numbers of members. The aliases of the first rows name a row of each
/// member, in their order.
pub fn slots(
    members: &[(Member, u32)],
    limits: impl Iterator<Item = u32>,
    owners: &[u32],
) -> Vec<Endpoint> {
    let limits: Vec<_> = limits.collect();
    let mut counts = vec![0; members.len()];
    let mut firsts = vec![0; members.len()];
    for (at, owner) in owners.iter().enumerate().rev() {
        counts[*owner as usize] += 1;
        firsts[*owner as usize] = at as u32;
    }
    let rows = (0..).zip(owners).map(|(at, owner)| {
        let number = *owner as usize;
        let (own, weight) = members[number];
        let alias = firsts.get(at as usize).copied().unwrap_or(at);
        let seat = Seat::new(own, limits[number], alias, owners.len() as u32, weight);
        seat.in_maglev(members.len() as u32, counts[number]).into()
    });
    rows.collect()
}

/// An alias table by the numbers of its members.
struct Table {
    parts: Vec<Part>,
    total: u32,
}

#[derive(Clone)]
struct Part {
    keep: u32,
    alias: usize,
}

impl Table {
    /// M. D. Vose's construction in integers: with `n` members and total weight `t`, each row stands
    /// for `t` parts of the `n * t` there are. A member with fewer than `t` of its `n * weight` parts
    /// fills its own row with them and lets a member with more take the rest of it.
    fn of(members: &[(Member, u32)]) -> Self {
        let total: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let count = members.len() as u64;
        let own = |alias| Part {
            keep: total as u32,
            alias,
        };
        let mut rows: Vec<_> = (0..members.len()).map(own).collect();
        let mut parts: Vec<u64> = members
            .iter()
            .map(|(_, weight)| u64::from(*weight) * count)
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..members.len())
            .rev()
            .partition(|&index| parts[index] < total);
        while let (Some(&donor), Some(poor)) = (large.last(), small.pop()) {
            rows[poor] = Part {
                keep: parts[poor] as u32,
                alias: donor,
            };
            parts[donor] -= total - parts[poor];
            if parts[donor] < total {
                large.pop();
                small.push(donor);
            }
        }
        Self {
            parts: rows,
            total: total as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmesh_lite_common::{Address, BackendId, EndpointId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn member(index: u32) -> Member {
        let backend = BackendId::from_index(index).unwrap();
        let address = Address::from_v4_word(index);
        Member::new(
            backend,
            address,
            EndpointId::from_index(index).unwrap(),
            None,
            false,
        )
    }

    proptest! {
        /// Adds up every row's parts: each member must end up with exactly `count * weight`.
        #[test]
        fn every_weight_is_held_exactly(weights in prop::collection::vec(1u32..=70_000, 1..200)) {
            let members: Vec<_> = weights
                .iter()
                .enumerate()
                .map(|(index, &weight)| (member(index as u32), weight))
                .collect();
            let (rows, total) = rows(&members);
            let mut parts = BTreeMap::<BackendId, u64>::new();
            for row in &rows {
                prop_assert!(row.keep <= total);
                *parts.entry(row.own.backend.unwrap()).or_default() += u64::from(row.keep);
                *parts.entry(row.alias.backend.unwrap()).or_default() += u64::from(total - row.keep);
            }
            for (member, weight) in members {
                prop_assert_eq!(parts[&member.backend.unwrap()], u64::from(weight) * weights.len() as u64);
            }
        }
    }

    #[test]
    fn no_members_give_no_rows() {
        assert_eq!(rows(&[]), (vec![], 0));
    }
}
