//! Words of maps that several processors write.

use core::arch::asm;

/// Stores `new` where `old` is, at once for all processors. Gives what was there.
#[inline(always)]
pub fn replace(at: *mut u64, old: u64, new: u64) -> u64 {
    let found;
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({at} + 0, r0, {new})",
            at = in(reg) at,
            new = in(reg) new,
            inlateout("r0") old => found,
        );
    }
    found
}

/// Stores `new`, at once for all processors. Gives what was there.
#[inline(always)]
pub fn exchange(at: *mut u64, new: u64) -> u64 {
    let mut word = new;
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "{word} = xchg_64({at} + 0, {word})",
            at = in(reg) at,
            word = inout(reg) word,
        );
    }
    word
}

/// Sets bits of a word, at once for all processors. Gives what was there.
#[inline(always)]
pub fn add_bits(word: *mut u64, bits: u64) -> u64 {
    let mut found = bits;
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "{found} = atomic_fetch_or((u64 *)({word} + 0), {found})",
            word = in(reg) word,
            found = inout(reg) found,
        );
    }
    found
}

/// Adds to a word, at once for all processors and for a program that interrupts this one.
#[inline(always)]
pub fn add(word: *mut u64, by: u64) {
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "lock *(u64 *)({word} + 0) += {by}",
            word = in(reg) word,
            by = in(reg) by,
        );
    }
}

/// Adds to a short word, at once for all processors. Gives what was there.
#[inline(always)]
pub fn fetch_add(word: *mut u32, by: u32) -> u32 {
    let mut found = by;
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "{found} = atomic_fetch_add((u32 *)({word} + 0), {found})",
            word = in(reg) word,
            found = inout(wreg) found,
        );
    }
    found
}

/// Adds to a word, at once for all processors. Gives what was there.
#[inline(always)]
pub fn fetch_add_long(word: *mut u64, by: u64) -> u64 {
    let mut found = by;
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "{found} = atomic_fetch_add((u64 *)({word} + 0), {found})",
            word = in(reg) word,
            found = inout(reg) found,
        );
    }
    found
}

/// Takes one from a short word, at once for all processors and for a program that interrupts this one.
#[inline(always)]
pub fn take_one(word: *mut u32) {
    // SAFETY: an aligned word of an element of a map.
    unsafe {
        asm!(
            "lock *(u32 *)({word} + 0) += {by}",
            word = in(reg) word,
            by = in(wreg) u32::MAX,
        );
    }
}
