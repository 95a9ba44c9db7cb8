//! Programs that nobody here wrote, as clients, as servers and as waypoints of a mesh in the
//! kernel. What is missing is skipped: `make test-matrix` fetches it, and prints a table of all.

mod caddy;
mod clients;
mod datagrams;
mod envoy;
mod front;
mod mail;
mod names;
mod postgresql;
mod quic;
mod redis;
mod resolvers;
mod traefik;
mod web;

/// The product, built beside the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kmesh-lite-under-test");
