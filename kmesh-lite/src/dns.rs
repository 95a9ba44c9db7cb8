//! The wire of DNS: what is answered to a question out of the names of the mesh, and what becomes of the answers of others.
//!
//! In: names as the daemon has them, and the bytes of questions and answers, which nobody vouches for. Out: bytes. No I/O here, and
//! no clock; the agent has both.

mod answer;
mod asked;
mod foreign;
mod key;
mod reading;
mod tree;
mod words;

pub use crate::api::Transport;
pub use answer::{Reply, Terms, answer};
pub use asked::{Asked, PAYLOAD};
pub use foreign::{Flaw, ForeignAnswer};
pub use tree::Tree;
pub use words::{code_name, presentation, type_name};

#[cfg(test)]
mod tests;
