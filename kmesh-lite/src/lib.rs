//! kmesh-lite: a service mesh in the kernel for hosts without Kubernetes.
//!
//! The core does no I/O and imports in one direction: `model` <- `tables` <- `plan` <- `maps` <-
//! `reconcile`, with `hooks` beside the tables, and `health` and
//! `names` beside the mesh, and `zone` beside `reconcile`.
//!
//! The shell around it uses the core: `sources` and `config` make meshes, `host` gathers facts, `kernel`
//! carries plans out, `report` puts into words what the kernel holds, `api` and `control` are the socket,
//! and `daemon` and `cli` bring them together. `agent` is another process, which reaches the daemon by
//! `control` only.

mod agent;
mod api;
pub mod cli;
pub mod config;
mod control;
pub mod daemon;
pub mod dns;
mod doctor;
pub mod health;
pub mod hooks;
pub mod host;
pub mod kernel;
mod log;
pub mod maps;
mod memory;
pub mod model;
pub mod names;
pub mod plan;
mod printable;
pub mod reconcile;
pub mod report;
pub mod sources;
pub mod tables;
pub mod zone;
