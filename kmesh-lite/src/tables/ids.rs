//! Ids: kept for what already has one, the smallest free ones for what is new.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Hands out row indexes of one table by key.
pub struct Ids<K> {
    /// Looked up only; its order is never seen.
    known: HashMap<K, u32, BuildHasherDefault<Mix>>,
    /// Sorted indexes that may not be handed out.
    taken: Vec<u32>,
    next: u32,
    /// Position in `taken` of the first index that is not before `next`.
    passed: usize,
}

impl<K: Eq + Hash> Ids<K> {
    /// `known` keeps its indexes. An index that holds a leftover may be handed out, because a plan clears
    /// leftovers before it writes. No index is therefore beyond the number of old and new keys.
    pub fn new(known: impl IntoIterator<Item = (K, u32)>) -> Self {
        let known: Vec<_> = known.into_iter().collect();
        // Mostly in order already, which sorting notices; in the order of hashes it would not be.
        let mut taken: Vec<_> = known.iter().map(|(_, index)| *index).collect();
        taken.sort_unstable();
        Self {
            known: known.into_iter().collect(),
            taken,
            next: 0,
            passed: 0,
        }
    }

    /// The index for `key`, which stays the same for the same key.
    pub fn index(&mut self, key: K) -> u32 {
        if let Some(&index) = self.known.get(&key) {
            return index;
        }
        while self.taken.get(self.passed) == Some(&self.next) {
            self.next += 1;
            self.passed += 1;
        }
        let index = self.next;
        self.next += 1;
        self.known.insert(key, index);
        index
    }

    /// The index of a key that was handed out before.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.known.get(key).copied()
    }
}

/// Hashes a word at a time, a few times faster than the standard library, which defends itself
/// against keys that somebody chose to collide: these come from the operator's own file.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            // The end of SplitMix64 (Steele, Lea, Flood, 2014), so that every bit of a key reaches
            // every bit of the hash: addresses in network order differ in the highest bits.
            let mixed = (self.0 ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            self.0 = mixed ^ (mixed >> 31);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_keep_their_index_and_new_ones_fill_the_gaps() {
        let mut ids = Ids::new([("b", 1), ("e", 4)]);
        assert_eq!(ids.index("new"), 0);
        assert_eq!(ids.index("b"), 1);
        assert_eq!(ids.index("newer"), 2);
        assert_eq!(ids.index("newest"), 3);
        assert_eq!(ids.index("last"), 5);
        assert_eq!(ids.index("newer"), 2);
        assert_eq!(ids.get("e"), Some(4));
        assert_eq!(ids.get("nobody"), None);
    }
}
