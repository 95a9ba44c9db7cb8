//! Alias tables: rows for a weighted choice in constant time.

use kmesh_lite_common::{Endpoint, Member};

/// Rows for `members`, in their order, and the sum of their weights. A member of weight 0 is never drawn.
///
/// M. D. Vose's construction in integers: with `n` members and total weight `t`, each row stands
/// for `t` parts of the `n * t` there are. A member with fewer than `t` of its `n * weight` parts
/// fills its own row with them and lets a member with more take the rest of it.
pub fn rows(members: &[(Member, u32)]) -> (Vec<Endpoint>, u32) {
    let total: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let count = members.len() as u64;
    let mut rows: Vec<Endpoint> = members
        .iter()
        .map(|&(member, weight)| Endpoint {
            own: member,
            alias: member,
            keep: total as u32,
            weight,
        })
        .collect();
    let mut parts: Vec<u64> = members
        .iter()
        .map(|(_, weight)| u64::from(*weight) * count)
        .collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..members.len())
        .rev()
        .partition(|&index| parts[index] < total);
    while let (Some(&donor), Some(poor)) = (large.last(), small.pop()) {
        rows[poor].keep = parts[poor] as u32;
        rows[poor].alias = rows[donor].own;
        parts[donor] -= total - parts[poor];
        if parts[donor] < total {
            large.pop();
            small.push(donor);
        }
    }
    (rows, total as u32)
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
