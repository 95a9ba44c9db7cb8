//! A number of which the verifier knows nothing.
//!
//! The verifier follows each way through a program for itself as long as a register or a word of the stack differs. Where
//! ways come together that differ in a number, and what follows is the same for each number, `blank()` is added to it:
//! then they are one way from there on.

use core::ptr::{addr_of, read_volatile};

/// 0, in memory that could be written to. Nobody does.
#[unsafe(no_mangle)]
static mut BLANK: u32 = 0;

/// The same number, as one of which the verifier knows nothing.
#[inline(always)]
pub fn blurred(number: u64) -> u64 {
    number.wrapping_add(u64::from(blank()))
}

/// 0.
#[inline(always)]
pub fn blank() -> u32 {
    // SAFETY: a word of this program, which nobody writes. Volatile: so the compiler knows nothing either.
    unsafe { read_volatile(addr_of!(BLANK)) }
}
