//! Rows by id: a map for small numbers without large gaps, in chunks that copies share.
//!
//! A copy costs next to nothing, a change costs a chunk, and the difference of two maps costs the chunks
//! that they do not share.

use super::declared::Declared;
use std::fmt;
use std::sync::Arc;

/// Rows in a chunk: a change copies one chunk and the list of chunks.
const CHUNK: usize = 128;

/// Rows of one table by id, in order.
pub struct IdMap<T: Declared> {
    chunks: Arc<Vec<Chunk<T>>>,
    length: usize,
}

/// As many places as were needed so far.
type Chunk<T> = Arc<Vec<Option<Entry<T>>>>;
type Entry<T> = (<T as Declared>::Id, <T as super::declared::Noun>::Row);

impl<T: Declared> IdMap<T> {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn get(&self, id: &T::Id) -> Option<&T::Row> {
        let (chunk, place) = place::<T>(*id);
        let entry = self.chunks.get(chunk)?.get(place)?.as_ref()?;
        Some(&entry.1)
    }

    pub fn contains_key(&self, id: &T::Id) -> bool {
        self.get(id).is_some()
    }

    /// Gives the row that was there.
    pub fn insert(&mut self, id: T::Id, row: T::Row) -> Option<T::Row> {
        let (chunk, place) = place::<T>(id);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.len() <= chunk {
            chunks.resize_with(chunk + 1, Arc::default);
        }
        let entries = Arc::make_mut(&mut chunks[chunk]);
        if entries.len() <= place {
            entries.resize_with(place + 1, || None);
        }
        let before = entries[place].replace((id, row));
        self.length += usize::from(before.is_none());
        before.map(|(_, row)| row)
    }

    /// Gives the row that was there.
    pub fn remove(&mut self, id: &T::Id) -> Option<T::Row> {
        let (chunk, place) = place::<T>(*id);
        self.get(id)?;
        let entries = Arc::make_mut(Arc::make_mut(&mut self.chunks).get_mut(chunk)?);
        let (_, row) = entries.get_mut(place)?.take()?;
        self.length -= 1;
        Some(row)
    }

    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            chunks: self.chunks.iter(),
            entries: [].iter(),
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &T::Id> + Clone {
        self.iter().map(|(id, _)| id)
    }

    pub fn values(&self) -> impl Iterator<Item = &T::Row> + Clone {
        self.iter().map(|(_, row)| row)
    }

    /// Ids whose rows differ, or that only one side has, in order.
    pub fn differing(&self, other: &Self) -> Vec<T::Id> {
        let mut ids = Vec::new();
        if Arc::ptr_eq(&self.chunks, &other.chunks) {
            return ids;
        }
        for chunk in 0..self.chunks.len().max(other.chunks.len()) {
            let (one, other) = (self.chunks.get(chunk), other.chunks.get(chunk));
            if let (Some(one), Some(other)) = (one, other)
                && Arc::ptr_eq(one, other)
            {
                continue;
            }
            let entries = |chunk: Option<&Chunk<T>>| chunk.map_or(0, |chunk| chunk.len());
            for place in 0..entries(one).max(entries(other)) {
                let one = one.and_then(|chunk| chunk.get(place)?.as_ref());
                let other = other.and_then(|chunk| chunk.get(place)?.as_ref());
                if one.map(|it| &it.1) != other.map(|it| &it.1) {
                    ids.extend(one.or(other).map(|(id, _)| *id));
                }
            }
        }
        ids
    }
}

fn place<T: Declared>(id: T::Id) -> (usize, usize) {
    let index = T::index(id) as usize;
    (index / CHUNK, index % CHUNK)
}

pub struct Iter<'a, T: Declared> {
    chunks: std::slice::Iter<'a, Chunk<T>>,
    entries: std::slice::Iter<'a, Option<Entry<T>>>,
}

impl<T: Declared> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            entries: self.entries.clone(),
        }
    }
}

impl<'a, T: Declared> Iterator for Iter<'a, T> {
    type Item = (&'a T::Id, &'a T::Row);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((id, row)) = self.entries.by_ref().flatten().next() {
                return Some((id, row));
            }
            self.entries = self.chunks.next()?.iter();
        }
    }
}

impl<'a, T: Declared> IntoIterator for &'a IdMap<T> {
    type Item = (&'a T::Id, &'a T::Row);
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Declared> FromIterator<Entry<T>> for IdMap<T> {
    fn from_iter<I: IntoIterator<Item = Entry<T>>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

impl<T: Declared> Extend<Entry<T>> for IdMap<T> {
    fn extend<I: IntoIterator<Item = Entry<T>>>(&mut self, entries: I) {
        for (id, row) in entries {
            self.insert(id, row);
        }
    }
}

impl<T: Declared> Default for IdMap<T> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            length: 0,
        }
    }
}

impl<T: Declared> Clone for IdMap<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
            length: self.length,
        }
    }
}

impl<T: Declared> PartialEq for IdMap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.differing(other).is_empty()
    }
}

impl<T: Declared> fmt::Debug for IdMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Backends;
    use kmesh_lite_common::{Backend, BackendId};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn id(index: u32) -> BackendId {
        BackendId::from_index(index).unwrap()
    }

    fn row(number: u8) -> Backend {
        Backend {
            address: std::net::IpAddr::from([10, 0, 0, number]).into(),
            waypoint: None,
        }
    }

    /// Changes to rows: another one, or none.
    fn changes() -> impl Strategy<Value = Vec<(u32, Option<u8>)>> {
        prop::collection::vec((0..600u32, any::<Option<u8>>()), 0..40)
    }

    fn carry_out(
        map: &mut IdMap<Backends>,
        model: &mut BTreeMap<u32, u8>,
        changes: &[(u32, Option<u8>)],
    ) {
        for (index, change) in changes {
            let before = match change {
                Some(number) => {
                    let before = map.insert(id(*index), row(*number));
                    assert_eq!(before, model.insert(*index, *number).map(row));
                    continue;
                }
                None => map.remove(&id(*index)),
            };
            assert_eq!(before, model.remove(index).map(row));
        }
    }

    proptest! {
        #[test]
        fn a_copy_that_was_changed_differs_by_what_was_changed(first in changes(), then in changes()) {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            carry_out(&mut map, &mut model, &first);
            let (before, model_before) = (map.clone(), model.clone());
            carry_out(&mut map, &mut model, &then);
            for (map, model) in [(&before, &model_before), (&map, &model)] {
                prop_assert_eq!(map.len(), model.len());
                let rows = model.iter().map(|(index, number)| (id(*index), row(*number)));
                prop_assert!(map.iter().map(|(id, row)| (*id, *row)).eq(rows));
            }
            let indexes: BTreeSet<_> = model_before.keys().chain(model.keys()).collect();
            let differing = indexes.into_iter().filter(|it| model_before.get(it) != model.get(it));
            let differing: Vec<_> = differing.map(|index| id(*index)).collect();
            prop_assert_eq!(before.differing(&map), differing.clone());
            prop_assert_eq!(map.differing(&before), differing);
            prop_assert_eq!(before == map, model_before == model);
        }
    }
}
