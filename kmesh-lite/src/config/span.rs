//! Ranges of bytes in configuration text.

/// Bytes of a fragment's text, from `start` to before `end`. 32 bits: a fragment has at most
/// [`LARGEST`](super::LARGEST).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Where it is if `start` more bytes stand before it.
    pub fn moved_on(self, start: u32) -> Self {
        Self {
            start: self.start.saturating_add(start),
            end: self.end.saturating_add(start),
        }
    }

    /// Where it is if `start` fewer bytes stand before it.
    pub fn moved_back(self, start: u32) -> Self {
        Self {
            start: self.start.saturating_sub(start),
            end: self.end.saturating_sub(start),
        }
    }

    /// Whether all of `other` is in it.
    pub fn holds(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(range.start),
            end: offset(range.end),
        }
    }
}
