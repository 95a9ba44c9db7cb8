//! Answers of upstreams, for as long as they last. Nothing that is older is ever told.

use crate::dns::{Asked, ForeignAnswer};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// A longer answer is not worth the room.
const LONGEST: usize = 4_096;

/// What an answer depends on: the question, and the flags by which an upstream answers in another way.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    pub fn of(asked: &Asked) -> Self {
        let mut key = asked.key.clone();
        key.extend_from_slice(&u16::from(asked.kind).to_be_bytes());
        let flags = [
            asked.recursion_desired,
            asked.authentic_data,
            asked.checking_disabled,
            asked.dnssec_ok(),
        ];
        let flags = flags
            .iter()
            .fold(0, |all, flag| (all << 1) | u8::from(*flag));
        key.push(flags);
        Self(key)
    }
}

struct Entry {
    answer: Rc<ForeignAnswer>,
    taken: Instant,
    lasts: Duration,
}

/// Those that were used last.
pub struct Cache(Option<LruCache<Key, Entry>>);

impl Cache {
    /// With room for so many.
    pub fn new(room: usize) -> Self {
        Self(NonZeroUsize::new(room).map(LruCache::sparse))
    }

    pub fn resize(&mut self, room: usize) {
        match (&mut self.0, NonZeroUsize::new(room)) {
            (Some(cache), Some(room)) => cache.resize(room),
            _ => *self = Self::new(room),
        }
    }

    pub fn clear(&mut self) {
        if let Some(cache) = &mut self.0 {
            cache.clear();
        }
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, LruCache::len)
    }

    /// An answer and its age in seconds.
    pub fn get(&mut self, key: &Key) -> Option<(Rc<ForeignAnswer>, u32)> {
        let cache = self.0.as_mut()?;
        let entry = cache.get(key)?;
        let age = entry.taken.elapsed();
        if age >= entry.lasts {
            cache.pop(key);
            return None;
        }
        // It lasts a day at most.
        Some((Rc::clone(&entry.answer), age.as_secs() as u32))
    }

    pub fn put(&mut self, key: Key, answer: &Rc<ForeignAnswer>) {
        if let (Some(cache), Some(lasts)) = (&mut self.0, answer.lasts())
            && answer.length() <= LONGEST
        {
            let entry = Entry {
                answer: Rc::clone(answer),
                taken: Instant::now(),
                lasts,
            };
            cache.put(key, entry);
        }
    }
}
