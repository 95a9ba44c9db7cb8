//! Array maps, mapped into this process.

use kmesh_lite_common::{Row, Slot, Stamp};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The elements of an array map made with `BPF_F_MMAPABLE`. The kernel lays them out one after the
/// other, each rounded up to 8 bytes, from the beginning of the mapping.
pub struct Rows<T> {
    first: NonNull<T>,
    count: u32,
}

// SAFETY: a mapping belongs to the process, not to a thread; access goes through `&mut self`, or
// copies.
unsafe impl<T: Send> Send for Rows<T> {}

impl<T: Copy> Rows<T> {
    const STRIDE: () = assert!(size_of::<T>().is_multiple_of(8));

    /// Maps the `count` elements of `map`.
    pub fn map(map: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        let () = Self::STRIDE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::bytes(count),
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(address.cast::<T>()) {
            Some(first) if address != libc::MAP_FAILED => Ok(Self { first, count }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn bytes(count: u32) -> usize {
        size_of::<T>() * count as usize
    }

    /// Number of elements.
    pub fn count(&self) -> u32 {
        self.count
    }

    fn at(&self, index: u32) -> io::Result<*mut T> {
        if index >= self.count {
            return Err(io::Error::other(format!("row {index} of {}", self.count)));
        }
        // SAFETY: inside the mapping.
        Ok(unsafe { self.first.as_ptr().add(index as usize) })
    }

    /// Where the element is, for who looks at single words of it.
    pub fn place(&self, index: u32) -> io::Result<*mut T> {
        self.at(index)
    }

    /// A copy of the element.
    pub fn get(&self, index: u32) -> io::Result<T> {
        // SAFETY: mapped, and plain data whatever was written there.
        Ok(unsafe { self.at(index)?.read_volatile() })
    }

    /// Overwrites the element.
    pub fn set(&mut self, index: u32, value: T) -> io::Result<()> {
        // SAFETY: mapped; nobody reads this element, or only a whole word of it.
        unsafe { self.at(index)?.write_volatile(value) };
        Ok(())
    }
}

impl Rows<u64> {
    /// Stores a whole word, which programs read at any time.
    pub fn store(&mut self, index: u32, word: u64) -> io::Result<()> {
        // SAFETY: mapped and aligned.
        unsafe { AtomicU64::from_ptr(self.at(index)?) }.store(word, Ordering::SeqCst);
        Ok(())
    }
}

impl<T: Row> Rows<Slot<T>> {
    /// Slots that are not empty.
    pub fn used(&self) -> Vec<(u32, Slot<T>)> {
        let each = 0..self.count;
        each.filter_map(|index| Some((index, self.used_at(index)?)))
            .collect()
    }

    /// The slot, if it is there and not empty.
    pub fn used_at(&self, index: u32) -> Option<Slot<T>> {
        let slot = self.at(index).ok()?;
        // SAFETY: inside the mapping. Stamps first: most slots of most tables are empty.
        let stamps = unsafe { ptr::addr_of!((*slot).stamps).read_volatile() };
        let empty = stamps.iter().all(|stamp| stamp.is_never());
        // SAFETY: as above.
        (!empty).then(|| unsafe { slot.read_volatile() })
    }

    /// Writes the version that does not count at the generation before `generation`.
    pub fn put(&mut self, index: u32, row: T, generation: u64, live: bool) -> io::Result<()> {
        let slot = self.at(index)?;
        // SAFETY: mapped.
        let stamps = unsafe { ptr::addr_of!((*slot).stamps).read_volatile() };
        let spare = Slot::<T>::newest(stamps, generation - 1).map_or(0, |counts| 1 - counts);
        // SAFETY: mapped; no program reads the spare version, see `Maps`.
        unsafe { ptr::addr_of_mut!((*slot).rows[spare]).write_volatile(row) };
        self.stamp(slot, spare, Stamp::new(generation, live));
        Ok(())
    }

    /// Empties a slot.
    pub fn free(&mut self, index: u32) -> io::Result<()> {
        let slot = self.at(index)?;
        // SAFETY: mapped.
        let [first, second] = unsafe { ptr::addr_of!((*slot).stamps).read_volatile() };
        // The older version goes first. Without the newer one, which may say that the row is gone,
        // it would count again in between.
        let older = usize::from(second < first);
        self.stamp(slot, older, Stamp::NEVER);
        self.stamp(slot, 1 - older, Stamp::NEVER);
        Ok(())
    }

    /// Forgets versions from after `generation`.
    pub fn scrub(&mut self, index: u32, generation: u64) -> io::Result<()> {
        let slot = self.at(index)?;
        for version in 0..2 {
            // SAFETY: mapped.
            let stamp = unsafe { ptr::addr_of!((*slot).stamps[version]).read_volatile() };
            if stamp.generation() > generation {
                self.stamp(slot, version, Stamp::NEVER);
            }
        }
        Ok(())
    }

    /// Stores a stamp as one word: a program may be looking at it.
    fn stamp(&mut self, slot: *mut Slot<T>, version: usize, stamp: Stamp) {
        // SAFETY: mapped and aligned to 8; the stamp is one u64.
        let word =
            unsafe { AtomicU64::from_ptr(ptr::addr_of_mut!((*slot).stamps[version]).cast()) };
        word.store(stamp.to_word(), Ordering::Release);
    }
}

impl Rows<kmesh_lite_common::Settings> {
    /// Makes a generation current.
    pub fn set_generation(&mut self, generation: u64) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped and aligned.
        let word = unsafe { AtomicU64::from_ptr(ptr::addr_of_mut!((*settings).generation)) };
        word.store(generation, Ordering::SeqCst);
        Ok(())
    }

    /// Sets what the tables are. No program reads it.
    pub fn set_label(&mut self, label: kmesh_lite_common::Label) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped.
        unsafe { ptr::addr_of_mut!((*settings).label).write_volatile(label) };
        Ok(())
    }

    /// Sets the process whose connects are left alone.
    pub fn set_daemon(&mut self, daemon: u32) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped and aligned.
        let word = unsafe { AtomicU32::from_ptr(ptr::addr_of_mut!((*settings).daemon)) };
        word.store(daemon, Ordering::SeqCst);
        Ok(())
    }

    /// Sets the levels that callers are looked up at.
    pub fn set_caller_levels(&mut self, levels: u32) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped and aligned.
        let word = unsafe { AtomicU32::from_ptr(ptr::addr_of_mut!((*settings).caller_levels)) };
        word.store(levels, Ordering::SeqCst);
        Ok(())
    }
}

impl<T> Drop for Rows<T> {
    fn drop(&mut self) {
        let bytes = size_of::<T>() * self.count as usize;
        // SAFETY: our own mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.first.as_ptr().cast(), bytes) };
    }
}
