//! Which names changed at which revision.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// So many changes of names are remembered. Whoever knows an older revision is told everything.
const MOST: usize = 20_000;

#[derive(Clone, Debug)]
pub struct Log {
    /// Before the first entry.
    oldest: u64,
    entries: VecDeque<(u64, BTreeSet<Arc<str>>)>,
    /// Names of all entries.
    size: usize,
}

impl Log {
    /// Of a zone that begins with a revision.
    pub fn from(revision: u64) -> Self {
        Self {
            oldest: revision,
            entries: VecDeque::new(),
            size: 0,
        }
    }

    pub fn push(&mut self, revision: u64, changed: BTreeSet<Arc<str>>) {
        self.size += changed.len();
        self.entries.push_back((revision, changed));
        while self.size > MOST || self.entries.len() > MOST {
            let Some((revision, names)) = self.entries.pop_front() else {
                break;
            };
            self.size -= names.len();
            self.oldest = revision;
        }
    }

    /// What changed after a revision; none where that is not known.
    pub fn since(&self, revision: u64) -> Option<BTreeSet<Arc<str>>> {
        let newest = self
            .entries
            .back()
            .map_or(self.oldest, |(newest, _)| *newest);
        if revision < self.oldest || revision > newest {
            return None;
        }
        let later = self.entries.iter().filter(|(at, _)| *at > revision);
        Some(later.flat_map(|(_, names)| names.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_not_known() {
        let name = |number: usize| -> BTreeSet<Arc<str>> { [number.to_string().into()].into() };
        let mut log = Log::from(10);
        assert_eq!(log.since(10), Some(BTreeSet::new()));
        assert_eq!((log.since(9), log.since(11)), (None, None));
        log.push(11, name(1));
        log.push(12, name(2));
        assert_eq!(log.since(10).unwrap().len(), 2);
        assert_eq!(log.since(11).unwrap(), name(2));
        for number in 0..MOST {
            log.push(13 + number as u64, name(number));
        }
        assert_eq!(log.since(11), None);
        assert_eq!(log.since(12).unwrap().len(), MOST);
    }
}
