//! Where fragments of configuration come from, and noticing that they may have changed.

mod file;
mod files;
mod watch;

pub use files::{Files, elsewhere};
pub use watch::Completion;
