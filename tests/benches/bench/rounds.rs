//! Cases that are compared are measured in turn, a small batch each, round after round: whatever
//! slows the machine down for a while slows all of them.

use crate::Error;

/// A case: measures one batch and says what one operation cost, or how fast it went.
pub type Batch<'a> = Box<dyn FnMut() -> Result<f64, Error> + 'a>;

/// What the rounds gave for one case: one value a round.
#[derive(Clone, Debug, Default)]
pub struct Values(Vec<f64>);

/// Runs every case in every round, in another order each time: what a case leaves in the caches
/// helps or hinders the next one. Values are in the order of `cases`. The first round warms up and
/// does not count.
pub fn interleave(rounds: usize, cases: &mut [Batch<'_>]) -> Result<Vec<Values>, Error> {
    let count = cases.len();
    let mut values = vec![Values::default(); count];
    let mut order: Vec<_> = (0..count).collect();
    let mut random = Random(1);
    for round in 0..=rounds {
        for last in (1..count).rev() {
            order.swap(last, random.below(last + 1));
        }
        for &case in &order {
            let value = cases[case]()?;
            if round > 0 {
                values[case].0.push(value);
            }
        }
    }
    Ok(values)
}

/// The same orders in every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

impl Values {
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value below which this part of the rounds lies.
    pub fn quantile(&self, part: f64) -> f64 {
        quantile(&self.0, part)
    }

    /// Round by round, how much this is of `base`.
    pub fn ratios(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(a, b)| a / b).collect())
    }

    /// Round by round, how much more this is than `base`.
    pub fn differences(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(a, b)| a - b).collect())
    }
}

/// By nearest rank; 0 of nothing.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let rank = (last as f64 * part).round() as usize;
    sorted.get(rank).copied().unwrap_or_default()
}
