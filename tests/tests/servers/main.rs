//! Programs that people use, as clients, as servers and as waypoints of a mesh in the kernel.

mod clients;
mod datagrams;
mod dying;
mod forwarder;
mod haproxy;
mod mariadb;
mod nginx;
mod prometheus;
mod smtp;
mod ssh;

/// The product, built beside the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kmesh-lite-under-test");
