//! From files to a mesh: the only part that knows how the configuration is spelled.
//!
//! In: the main file and its drop-ins. Out: a [`Mesh`] that is whole and valid, or none, and every
//! problem at once. [`Loader`] does the I/O; reading and lowering are pure and know nothing of it.
//!
//! A file passes through these, in order:
//! - `files` finds and reads it, and refuses what is not a sane text file;
//! - `parse` turns the text into text types (`schema`, made of `scalar` and `endpoint` values) by
//!   way of `read`, going on after each problem;
//! - `lower` merges the text types of all files and turns them into the model.

mod endpoint;
mod files;
mod loader;
mod lower;
mod parse;
mod port;
mod problem;
mod read;
mod render;
mod scalar;
mod schema;
mod source;
mod suggest;
mod word;

pub use loader::{Host, Loaded, Loader};
pub use problem::{Problem, Problems, Related, Severity};
pub use schema::schema;
pub use source::Place;

#[cfg(doc)]
use crate::model::Mesh;
