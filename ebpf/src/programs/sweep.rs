//! iter/task_file: what connections that go on have done since somebody looked at them last. The kernel calls it
//! for every open file of every process, when the daemon asks, and only then.

use crate::{life, socket};
use core::ffi::c_void;
use core::ptr::read_volatile;

/// `struct bpf_iter__task_file`: pointers to the iteration, the task and, in this place, the file. The number of
/// the descriptor takes the place of one.
const FILE: usize = 3;

/// On to the next file.
const NEXT: u32 = 0;

#[inline(always)]
pub fn look(ctx: *mut c_void) -> u32 {
    // SAFETY: the context is valid while the program runs.
    let file = unsafe { read_volatile(ctx.cast::<*mut c_void>().add(FILE)) };
    if file.is_null() {
        return NEXT;
    }
    let sk = socket::of_file(file);
    if !sk.is_null() {
        life::seen(sk);
    }
    NEXT
}
