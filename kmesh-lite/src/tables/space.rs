//! Free places of a table: ids of rows, counters, stretches of the endpoint table.

use std::collections::BTreeMap;

/// What is free beside what is in use. Everything from `end` on is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Free stretches before the end, by their first place, with their length. No two touch.
    gaps: BTreeMap<u32, u32>,
    end: u32,
}

impl Space {
    /// The space beside stretches that are in use: first place and length, in order. They may overlap if
    /// somebody else wrote to the tables.
    pub fn beside(used: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut space = Self::default();
        for (first, length) in used {
            if first > space.end {
                space.gaps.insert(space.end, first - space.end);
            }
            space.end = space.end.max(first.saturating_add(length));
        }
        space
    }

    /// Takes a stretch that is free.
    pub fn take(&mut self, first: u32, length: u32) {
        let end = first + length;
        if first >= self.end {
            if first > self.end {
                self.gaps.insert(self.end, first - self.end);
            }
            self.end = end;
            return;
        }
        let gap = self.gaps.range(..=first).next_back();
        let Some((gap, gap_end)) = gap.map(|(gap, length)| (*gap, gap + length)) else {
            return;
        };
        self.gaps.remove(&gap);
        if gap < first {
            self.gaps.insert(gap, first - gap);
        }
        if end < gap_end {
            self.gaps.insert(end, gap_end - end);
        }
    }

    /// Gives a stretch back that is in use.
    pub fn release(&mut self, first: u32, length: u32) {
        let (mut first, mut end) = (first, first + length);
        let before = self.gaps.range(..first).next_back();
        if let Some((gap, length)) = before.map(|(gap, length)| (*gap, *length))
            && gap + length == first
        {
            self.gaps.remove(&gap);
            first = gap;
        }
        if let Some(length) = self.gaps.remove(&end) {
            end += length;
        }
        if end == self.end {
            self.end = first;
        } else {
            self.gaps.insert(first, end - first);
        }
    }
}

/// What a pass takes of a space. The space stays as it is until the pass is over: what the pass frees may
/// still be read, and is not handed out before the next one.
pub struct Taking<'a> {
    space: &'a Space,
    /// Places taken of a gap, from its first on.
    taken: BTreeMap<u32, u32>,
    /// No gap before this one has anything left.
    from: u32,
    end: u32,
}

impl<'a> Taking<'a> {
    pub fn of(space: &'a Space) -> Self {
        Self {
            space,
            taken: BTreeMap::new(),
            from: 0,
            end: space.end,
        }
    }

    /// The first stretch that is long enough.
    pub fn first_fit(&mut self, length: u32) -> u32 {
        let mut passed = true;
        for (&gap, &size) in self.space.gaps.range(self.from..) {
            let taken = self.taken.get(&gap).copied().unwrap_or(0);
            if size - taken >= length {
                self.taken.insert(gap, taken + length);
                return gap + taken;
            }
            passed &= taken == size;
            if passed {
                self.from = gap + size;
            }
        }
        let place = self.end;
        self.end += length;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_stretch_that_is_long_enough_is_handed_out() {
        let space = Space::beside([(2, 2), (6, 1)]);
        let mut taking = Taking::of(&space);
        assert_eq!(taking.first_fit(2), 0);
        assert_eq!(taking.first_fit(3), 7);
        assert_eq!(taking.first_fit(2), 4);
        assert_eq!(taking.first_fit(1), 10);
    }

    proptest! {
        /// Against a set of the places in use.
        #[test]
        fn what_is_taken_and_given_back_leaves_what_a_fresh_look_would_find(
            steps in prop::collection::vec((1..5u32, any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            let mut space = Space::default();
            let mut used: BTreeMap<u32, u32> = BTreeMap::new();
            for (length, which, gives_back) in steps {
                if gives_back && !used.is_empty() {
                    let first = *used.keys().nth(which.index(used.len())).unwrap();
                    let length = used.remove(&first).unwrap();
                    space.release(first, length);
                } else {
                    let first = Taking::of(&space).first_fit(length);
                    let places: BTreeSet<_> =
                        used.iter().flat_map(|(first, length)| *first..first + length).collect();
                    let fits = |first: u32| (first..first + length).all(|it| !places.contains(&it));
                    prop_assert_eq!(Some(first), (0..).find(|first| fits(*first)));
                    used.insert(first, length);
                    space.take(first, length);
                }
                prop_assert_eq!(&space, &Space::beside(used.iter().map(|(a, b)| (*a, *b))));
            }
        }
    }
}
