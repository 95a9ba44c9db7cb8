//! Where configuration comes from, and noticing that it may have changed.

mod files;
mod settle;
mod source;
mod watch;

pub use files::Files;
pub use settle::Settle;
pub use source::{Loaded, Source};
pub use watch::{Refreshed, Watch};
