//! kmesh-lite: a service mesh in the kernel for hosts without Kubernetes.
//!
//! The core does no I/O and imports in one direction: `model` <- `tables` <- `plan` <- `maps` <-
//! `reconcile`. The shell around it (`config`, `kernel`, `daemon`, `doctor`, `waypoint`, `cli`) uses
//! the core and meets in `daemon` and `cli` only.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod kernel;
pub mod log;
pub mod maps;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod tables;
pub mod waypoint;
