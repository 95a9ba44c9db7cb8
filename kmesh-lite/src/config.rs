//! From text to a mesh: the only part that knows how the configuration is spelled, and no I/O.
//!
//! In: the [`Fragments`] that a source has, and facts about this [`Host`]. Out: a [`Mesh`] that is
//! whole and valid, or none, and every problem at once, each with its [`Origin`].
//!
//! A fragment passes through these, in order:
//! - `decode` makes text of its bytes, as far as they are text;
//! - `parse` turns the text into text types (`schema`, made of `scalar` and `endpoint` values) by
//!   way of `read`, going on after each problem;
//! - `lower` merges the text types of all fragments and turns them into the model.

mod cgroup;
mod choice;
mod decode;
mod endpoint;
mod foreign;
mod fragment;
mod fragments;
mod health;
mod loader;
mod local_port;
mod location;
mod lower;
mod parallel;
mod parse;
mod piece;
mod policy;
mod port;
mod problem;
mod read;
mod scalar;
mod schema;
mod source;
mod span;
mod split;
mod suggest;

pub use fragment::{Fragment, LARGEST, Origin};
pub use fragments::{Fragments, fragment};
pub use loader::{Host, Loaded, Loader, Route};
pub use location::Location;
pub use policy::is_principal;
pub use problem::{Problem, Problems, Related, Severity};
pub use schema::schema;
pub use suggest::{closest, either, meant, quote};

#[cfg(doc)]
use crate::model::Mesh;
