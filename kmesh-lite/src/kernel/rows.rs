//! Array maps, mapped into this process piece by piece.

use kmesh_lite_common::{Row, Slot, Stamp};
use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The elements of an array map made with `BPF_F_MMAPABLE`. The kernel lays them out one after the
/// other, each rounded up to 8 bytes, from the beginning of the mapping.
///
/// What is mapped counts as memory of this process, whether it is looked at or not. So a window is mapped when
/// one of its elements is needed, and stays until [`Rows::release`].
pub struct Rows<T> {
    map: OwnedFd,
    count: u32,
    /// A window has two elements to the power of this.
    shift: u32,
    windows: Vec<OnceCell<NonNull<T>>>,
}

// SAFETY: a mapping belongs to the process, not to a thread; access goes through `&mut self`, or
// copies.
unsafe impl<T: Send> Send for Rows<T> {}

/// Bytes of a window, as far as pages allow.
const WINDOW: usize = 256 * 1024;

static PAGE: LazyLock<usize> = LazyLock::new(|| {
    // SAFETY: no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(65_536)
});

impl<T> Rows<T> {
    /// Elements of this window: all but the last are full.
    fn of_window(&self, window: usize) -> usize {
        (self.count as usize - (window << self.shift)).min(1 << self.shift)
    }

    /// Lets go of all mappings, and with them of memory that is counted as this process's. It is mapped again
    /// when it is needed.
    pub fn release(&mut self) {
        for window in 0..self.windows.len() {
            if let Some(first) = self.windows[window].take() {
                let bytes = size_of::<T>() * self.of_window(window);
                // SAFETY: our own mapping, which nothing refers to any more: whoever has `&mut self` is the only
                // one who has anything of it.
                unsafe { libc::munmap(first.as_ptr().cast(), bytes) };
            }
        }
    }
}

impl<T: Copy> Rows<T> {
    const STRIDE: () = assert!(size_of::<T>().is_multiple_of(8));

    /// The `count` elements of `map`.
    pub fn map(map: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        let () = Self::STRIDE;
        // Each is a multiple of 8 bytes, so that so many of them end with a page.
        let whole = *PAGE / 8;
        let shift = (WINDOW / size_of::<T>()).max(whole).ilog2();
        let windows = (count as usize).div_ceil(1 << shift);
        let rows = Self {
            map: map.try_clone_to_owned()?,
            count,
            shift,
            windows: vec![OnceCell::new(); windows],
        };
        // A map that cannot be mapped is found out now.
        rows.window(0)?;
        Ok(rows)
    }

    /// The first element of a window.
    fn window(&self, window: usize) -> io::Result<NonNull<T>> {
        let there = self
            .windows
            .get(window)
            .ok_or_else(|| self.beyond(window))?;
        if let Some(first) = there.get() {
            return Ok(*first);
        }
        let start = (window << self.shift) * size_of::<T>();
        let offset = libc::off_t::try_from(start).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<T>() * self.of_window(window),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                self.map.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(address.cast::<T>()) {
            Some(first) if address != libc::MAP_FAILED => Ok(*there.get_or_init(|| first)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn beyond(&self, row: impl std::fmt::Display) -> io::Error {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("row {row} of {}", self.count),
        )
    }

    /// Number of elements.
    pub fn count(&self) -> u32 {
        self.count
    }

    fn at(&self, index: u32) -> io::Result<*mut T> {
        if index >= self.count {
            return Err(self.beyond(index));
        }
        let (window, place) = (index >> self.shift, index & ((1 << self.shift) - 1));
        let first = self.window(window as usize)?;
        // SAFETY: inside the mapping.
        Ok(unsafe { first.as_ptr().add(place as usize) })
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
    pub fn used(&self) -> io::Result<Vec<(u32, Slot<T>)>> {
        let mut used = Vec::new();
        for index in 0..self.count {
            used.extend(self.used_at(index)?.map(|slot| (index, slot)));
        }
        Ok(used)
    }

    /// The slot, if it is there and not empty.
    pub fn used_at(&self, index: u32) -> io::Result<Option<Slot<T>>> {
        if index >= self.count {
            return Ok(None);
        }
        let slot = self.at(index)?;
        // SAFETY: inside the mapping. Stamps first: most slots of most tables are empty.
        let stamps = unsafe { ptr::addr_of!((*slot).stamps).read_volatile() };
        let empty = stamps.iter().all(|stamp| stamp.is_never());
        // SAFETY: as above.
        Ok((!empty).then(|| unsafe { slot.read_volatile() }))
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

    /// Sets the process of the agent, whose connects are left alone as well.
    pub fn set_agent(&mut self, agent: u32) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped and aligned.
        let word = unsafe { AtomicU32::from_ptr(ptr::addr_of_mut!((*settings).agent)) };
        word.store(agent, Ordering::SeqCst);
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

    /// Sets which moments of connections are told.
    pub fn set_interest(&mut self, interest: kmesh_lite_common::Interest) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped and aligned; one word.
        let word = unsafe { AtomicU32::from_ptr(ptr::addr_of_mut!((*settings).interest).cast()) };
        word.store(interest.0, Ordering::SeqCst);
        Ok(())
    }

    /// Sets whether connections are accounted.
    pub fn set_accounting(&mut self, on: bool) -> io::Result<()> {
        let settings = self.at(0)?;
        // SAFETY: mapped and aligned.
        let word = unsafe { AtomicU32::from_ptr(ptr::addr_of_mut!((*settings).accounting)) };
        word.store(u32::from(on), Ordering::SeqCst);
        Ok(())
    }
}

impl<T> Drop for Rows<T> {
    fn drop(&mut self) {
        self.release();
    }
}
