//! Chance, which keeps probes apart from each other, and spreads clients. It is no secret.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        // The one source of chance that the standard library has.
        Self(RandomState::new().hash_one(0))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below another one, which is not 0.
    pub fn index(&mut self, below: usize) -> usize {
        // The high half, times the number: nearly as even as can be.
        (((self.next() >> 32) * below as u64) >> 32) as usize
    }

    /// Somewhere from zero to below `most`.
    pub fn below(&mut self, most: Duration) -> Duration {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        most.mul_f64(share)
    }

    /// `about`, drawn longer or shorter by up to `percent`.
    pub fn near(&mut self, about: Duration, percent: u8) -> Duration {
        let range = about.mul_f64(f64::from(percent.min(100)) / 50.0);
        (about + self.below(range)).saturating_sub(range / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_drawn_to_both_sides_and_no_further() {
        let mut dice = Dice::new();
        let drawn: Vec<_> = (0..1000)
            .map(|_| dice.near(Duration::from_secs(10), 10).as_millis())
            .collect();
        assert!(drawn.iter().all(|it| (9000..=11_000).contains(it)));
        assert!(drawn.iter().any(|it| *it < 9500) && drawn.iter().any(|it| *it > 10_500));
        assert_eq!(dice.near(Duration::from_secs(1), 0), Duration::from_secs(1));
    }
}
