//! The decision of one connect.
//!
//! In: the address, port and protocol that a program asked for, and the tables behind [`Lookup`].
//! Out: a [`Verdict`]. The same code runs in the kernel (over maps), in tests (over plain memory)
//! and in `explain` (over a copy of the kernel's tables), so all three say the same.

#![cfg_attr(not(test), no_std)]

pub mod bits;
mod decide;
pub mod header;
mod lookup;
mod verdict;

pub use decide::{
    Connect, DRAWS, LEVELS, NESTED, Search, WALK, add, at_address, authorize, decide, draw_seat,
    find_destination, find_from, find_row, give_back, hold, in_use, judge_arrival, judged, mixed,
    take_at, take_held, take_seat, walk_seats,
};
pub use lookup::{Lookup, Rules, Seats, Sources};
pub use verdict::{Chosen, Outcome, PassReason, Redirect, Refuse, Taken, Verdict};
