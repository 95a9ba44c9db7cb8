//! Programs that nobody here wrote, as clients, as servers and as waypoints of a mesh in the
//! kernel. What is missing is skipped: `make test-matrix` fetches it, and prints a table of all.

mod caddy;
mod clients;
mod datagrams;
mod envoy;
mod front;
mod mail;
mod postgresql;
mod redis;
mod resolvers;
mod traefik;
mod web;
