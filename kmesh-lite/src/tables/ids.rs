//! Ids: kept for what already has one, the smallest free ones for what is new.

use super::space::{Space, Taking};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Indexes by key. Looked up only; its order is never seen.
pub type Known<K> = HashMap<K, u32, BuildHasherDefault<Mix>>;

/// Hands out row indexes of one table by key, for one pass.
pub struct Ids<'a, K> {
    /// What keeps its index.
    known: &'a Known<K>,
    new: Known<K>,
    free: Taking<'a>,
}

impl<'a, K: Eq + Hash> Ids<'a, K> {
    /// An index that holds a leftover may be free, because a plan clears leftovers before it writes. No index
    /// is therefore beyond the number of old and new keys.
    pub fn new(known: &'a Known<K>, free: &'a Space) -> Self {
        Self {
            known,
            new: Known::default(),
            free: Taking::of(free),
        }
    }

    /// The index for `key`, which stays the same for the same key.
    pub fn index(&mut self, key: K) -> u32 {
        if let Some(&index) = self.known.get(&key) {
            return index;
        }
        let free = &mut self.free;
        *self.new.entry(key).or_insert_with(|| free.first_fit(1))
    }

    /// The index of a key that had one, or was handed one out.
    pub fn get(&self, key: &K) -> Option<u32> {
        self.known.get(key).or_else(|| self.new.get(key)).copied()
    }
}

/// Hashes a word at a time, a few times faster than the standard library, which defends itself
/// against keys that somebody chose to collide: these come from the operator's own file.
#[derive(Default)]
pub struct Mix(u64);

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
        let known = Known::from_iter([("b", 1), ("e", 4)]);
        let free = Space::beside([(1, 1), (4, 1)]);
        let mut ids = Ids::new(&known, &free);
        assert_eq!(ids.index("new"), 0);
        assert_eq!(ids.index("b"), 1);
        assert_eq!(ids.index("newer"), 2);
        assert_eq!(ids.index("newest"), 3);
        assert_eq!(ids.index("last"), 5);
        assert_eq!(ids.index("newer"), 2);
        assert_eq!(ids.get(&"e"), Some(4));
        assert_eq!(ids.get(&"nobody"), None);
    }
}
