//! Memory that was needed for a while.

/// Below so many bytes of text, what was made of it is not worth looking for.
const MUCH: usize = 1 << 20;

/// Gives back to the system what was needed to deal with so many bytes of text. The allocator itself keeps what
/// is free between pieces in use: after 100,000 endpoints were read that is as much as is in use. False if it was
/// not worth it.
pub fn give_back(bytes: usize) -> bool {
    let is_much = bytes >= MUCH;
    if is_much {
        #[cfg(target_env = "gnu")]
        // SAFETY: it takes no pointers, and locks what it works on.
        unsafe {
            libc::malloc_trim(0)
        };
    }
    is_much
}
