//! Man pages from the program's own definitions.
//!
//! In: the arguments, the JSON Schema, and the examples. Out: text for man(1). Nothing of the kernel
//! side is used.

mod authorization;
pub mod file;
mod roff;
pub mod verbs;

pub use roff::{Page, Text};
