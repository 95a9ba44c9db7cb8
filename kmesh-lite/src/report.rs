//! From what the kernel holds to words and JSON.

pub mod dump;
pub mod explain;
pub mod problems;
pub mod status;
