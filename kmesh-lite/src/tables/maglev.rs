//! The lookup table of Maglev (D. E. Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer",
//! 2016), with weights: which endpoint has which slot.
//!
//! In: what endpoints are known by on every host, and their weights. Out: an endpoint for each slot, the same whatever
//! the order of endpoints.

use kmesh_lite_ebpf::mixed;

/// An endpoint that gets slots.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// What is the same on all hosts.
    pub identity: u64,
    /// Not 0.
    pub weight: u32,
}

/// The number of the endpoint that has each of so many slots, of which there are a prime number, and no fewer than
/// endpoints. Each endpoint has its share, to within one slot, and one slot at least.
pub fn lay_out(holders: &[Holder], slots: u32) -> Vec<u32> {
    let quotas = quotas(holders, slots);
    let mut turns: Vec<(u64, u64, u32)> = Vec::with_capacity(slots as usize);
    for ((number, holder), quota) in (0..).zip(holders).zip(quotas) {
        // As if each took its slots evenly over the same time. Turns of two endpoints keep their order whoever else
        // comes or goes.
        let turn = |turn: u64| ((2 * turn + 1) << 40) / (2 * u64::from(holder.weight));
        turns.extend((0..u64::from(quota)).map(|at| (turn(at), holder.identity, number)));
    }
    turns.sort_unstable();
    let mut walks: Vec<_> = holders.iter().map(|it| Walk::new(it, slots)).collect();
    let mut owners = vec![None; slots as usize];
    for (_, _, number) in turns {
        let walk = &mut walks[number as usize];
        while owners[walk.at as usize].is_some() {
            walk.step(slots);
        }
        owners[walk.at as usize] = Some(number);
    }
    owners.into_iter().flatten().collect()
}

/// The way of an endpoint through all slots.
struct Walk {
    at: u32,
    step: u32,
}

impl Walk {
    fn new(holder: &Holder, slots: u32) -> Self {
        let within =
            |number: u32, limit: u32| ((u64::from(number) * u64::from(limit)) >> 32) as u32;
        Self {
            at: within(mixed(holder.identity, 0), slots),
            step: 1 + within(mixed(holder.identity, 1), slots - 1),
        }
    }

    fn step(&mut self, slots: u32) {
        self.at = ((u64::from(self.at) + u64::from(self.step)) % u64::from(slots)) as u32;
    }
}

/// How many slots each gets: its share, rounded so that all slots are given out.
fn quotas(holders: &[Holder], slots: u32) -> Vec<u32> {
    let total: u64 = holders.iter().map(|it| u64::from(it.weight)).sum();
    if total == 0 {
        return Vec::new();
    }
    let parts = |it: &Holder| u64::from(it.weight) * u64::from(slots);
    let mut quotas: Vec<_> = holders
        .iter()
        .map(|it| (parts(it) / total) as u32)
        .collect();
    // Those that lose most by rounding down get what is left.
    let mut order: Vec<_> = (0..holders.len()).collect();
    order.sort_unstable_by_key(|at| {
        let holder = &holders[*at];
        (std::cmp::Reverse(parts(holder) % total), holder.identity)
    });
    let left = slots - quotas.iter().sum::<u32>();
    for at in order.iter().take(left as usize) {
        quotas[*at] += 1;
    }
    // Nobody is left out, however small its share; those that have most give.
    let mut owed = quotas.iter().filter(|quota| **quota == 0).count();
    order.sort_unstable_by_key(|at| (std::cmp::Reverse(quotas[*at]), holders[*at].identity));
    while owed > 0 {
        for at in &order {
            if owed > 0 && quotas[*at] > 1 {
                quotas[*at] -= 1;
                owed -= 1;
            }
        }
    }
    quotas.into_iter().map(|quota| quota.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holders(weights: &[u32]) -> Vec<Holder> {
        let holders = (0..).zip(weights).map(|(number, weight)| Holder {
            identity: (u64::from(mixed(number, 7)) << 32) | number,
            weight: *weight,
        });
        holders.collect()
    }

    fn counts(owners: &[u32], holders: usize) -> Vec<u32> {
        let mut counts = vec![0; holders];
        for owner in owners {
            counts[*owner as usize] += 1;
        }
        counts
    }

    /// How many slots have another endpoint after that with this number has gone, and how many it had.
    fn moved(weights: &[u32], gone: usize, slots: u32) -> (usize, usize) {
        let all = holders(weights);
        let mut others = all.clone();
        others.remove(gone);
        let (before, after) = (lay_out(&all, slots), lay_out(&others, slots));
        let known = |owner: u32| all[owner as usize].identity;
        let pairs = before.iter().zip(&after);
        let moved = pairs.filter(|(a, b)| known(**a) != others[**b as usize].identity);
        let had = before.iter().filter(|owner| **owner as usize == gone);
        (moved.count(), had.count())
    }

    proptest! {
        #[test]
        fn every_share_is_held_to_within_one_slot(weights in prop::collection::vec(1..=50u32, 1..100)) {
            let owners = lay_out(&holders(&weights), 8_191);
            prop_assert_eq!(owners.len(), 8_191);
            let total: u32 = weights.iter().sum();
            for (weight, count) in weights.iter().zip(counts(&owners, weights.len())) {
                let exact = f64::from(*weight) / f64::from(total) * 8_191.0;
                prop_assert!((f64::from(count) - exact).abs() < 1.0, "{count} slots, not {exact}");
            }
        }

        #[test]
        fn nobody_is_without_a_slot(weights in prop::collection::vec(1..=u32::MAX / 100, 1..60)) {
            for slots in [61, 1_021] {
                let owners = lay_out(&holders(&weights), slots);
                prop_assert_eq!(owners.len(), slots as usize);
                prop_assert!(!counts(&owners, weights.len()).contains(&0));
            }
        }

        #[test]
        fn the_order_of_endpoints_does_not_matter(
            (weights, shuffled) in prop::collection::vec(1..5u32, 1..40).prop_flat_map(|weights| {
                let order: Vec<usize> = (0..weights.len()).collect();
                (Just(weights), Just(order).prop_shuffle())
            }),
        ) {
            let all = holders(&weights);
            let other: Vec<_> = shuffled.iter().map(|at| all[*at]).collect();
            let known = |holders: &[Holder]| -> Vec<u64> {
                let owners = lay_out(holders, 1_021).into_iter();
                owners.map(|owner| holders[owner as usize].identity).collect()
            };
            prop_assert_eq!(known(&all), known(&other));
        }
    }

    /// Ideal is what the endpoint had itself.
    #[test]
    fn little_more_moves_than_what_an_endpoint_that_goes_had() {
        for (endpoints, slots, most) in [
            (3, 1_021, 1.1),
            (10, 1_021, 1.4),
            (10, 8_191, 1.2),
            (40, 8_191, 2.5),
            (100, 8_191, 4.0),
            (100, 65_521, 1.8),
        ] {
            for weights in [
                vec![1; endpoints],
                (0..endpoints as u32).map(|at| 1 + at % 4).collect(),
            ] {
                let (mut all, mut ideal) = (0, 0);
                for gone in (0..endpoints).step_by(endpoints.div_ceil(10)) {
                    let (moved, had) = moved(&weights, gone, slots);
                    all += moved;
                    ideal += had;
                }
                let factor = all as f64 / ideal as f64;
                println!("{endpoints} endpoints, {slots} slots: {factor:.2} of what is ideal");
                assert!(
                    factor < most,
                    "{endpoints} endpoints, {slots} slots: {factor}"
                );
            }
        }
    }
}
