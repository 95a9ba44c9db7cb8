//! How a row changes while programs read it.
//!
//! Every row has room for two versions, and one number, the generation in [`crate::Settings`], says
//! which of them counts. A plan writes the versions that are not visible yet, then stores the next
//! generation: the whole mesh changes at that instant, for every row at once. A version is written
//! again only after a grace period in which every program that could still read it has ended.

use core::ptr::{addr_of, read_volatile};

/// A type that may stand in a slot.
///
/// Implementors are `repr(C)`, without padding, and valid for every bit pattern.
pub trait Row: Copy + 'static {}

/// Since which generation a version counts, and whether it holds a row (`live`) or says that the
/// row is gone. Zero: never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Stamp(u64);

impl Stamp {
    /// Marks nothing.
    pub const NEVER: Self = Self(0);

    #[inline(always)]
    pub const fn new(generation: u64, live: bool) -> Self {
        Self(generation << 1 | live as u64)
    }

    #[inline(always)]
    pub const fn generation(self) -> u64 {
        self.0 >> 1
    }

    /// The word that is stored.
    pub const fn to_word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.0 & 1 == 1
    }

    #[inline(always)]
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }
}

/// Two versions of one row.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slot<T> {
    pub stamps: [Stamp; 2],
    pub rows: [T; 2],
}

impl<T: Row> Slot<T> {
    /// Which version counts at `generation`: the newer of those not after it.
    #[inline(always)]
    pub fn newest(stamps: [Stamp; 2], generation: u64) -> Option<usize> {
        let [first, second] = stamps;
        let known = |stamp: Stamp| !stamp.is_never() && stamp.generation() <= generation;
        match (known(first), known(second)) {
            (true, true) => Some((second > first) as usize),
            (true, false) => Some(0),
            (false, true) => Some(1),
            (false, false) => None,
        }
    }

    /// The version that counts at `generation`, if that holds a row.
    ///
    /// # Safety
    ///
    /// `slot` points to a slot.
    #[inline(always)]
    pub unsafe fn living(slot: *const Self, generation: u64) -> Option<usize> {
        // SAFETY: inside the slot. Volatile, because the daemon may be stamping the other version.
        let stamps = unsafe {
            [
                read_volatile(addr_of!((*slot).stamps[0])),
                read_volatile(addr_of!((*slot).stamps[1])),
            ]
        };
        // Two arms: for a program, no index of an array of its own.
        match Self::newest(stamps, generation)? {
            0 => stamps[0].is_live().then_some(0),
            _ => stamps[1].is_live().then_some(1),
        }
    }

    /// The row that counts at `generation`.
    ///
    /// # Safety
    ///
    /// `slot` points to a slot that stays allocated for `'a`, and the version that counts at
    /// `generation` is not written during `'a`; the other one may be.
    #[inline(always)]
    pub unsafe fn read<'a>(slot: *const Self, generation: u64) -> Option<&'a T> {
        // SAFETY: the caller vouches for the slot, and for the version that counts.
        unsafe {
            let version = Self::living(slot, generation)?;
            Some(&*addr_of!((*slot).rows[version]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Row for u32 {}

    fn read(stamps: [Stamp; 2], generation: u64) -> Option<u32> {
        let slot = Slot {
            stamps,
            rows: [100, 200],
        };
        // SAFETY: a local that nobody writes.
        unsafe { Slot::read(&slot, generation) }.copied()
    }

    #[test]
    fn the_newest_version_not_after_the_generation_counts() {
        let stamps = [Stamp::new(3, true), Stamp::new(5, true)];
        assert_eq!(read(stamps, 2), None);
        assert_eq!(read(stamps, 3), Some(100));
        assert_eq!(read(stamps, 4), Some(100));
        assert_eq!(read(stamps, 5), Some(200));
        assert_eq!(read([stamps[1], stamps[0]], 4), Some(200));
    }

    #[test]
    fn a_dead_version_hides_the_older_one() {
        let stamps = [Stamp::new(3, true), Stamp::new(5, false)];
        assert_eq!(read(stamps, 4), Some(100));
        assert_eq!(read(stamps, 5), None);
    }

    #[test]
    fn zeroed_memory_is_no_row() {
        assert_eq!(read([Stamp::NEVER; 2], u64::MAX >> 1), None);
    }
}
