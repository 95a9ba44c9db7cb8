//! The daemon as people run it: a process with a file, a socket, signals and a supervisor.

mod access_log;
mod affinity;
mod agent;
mod captured_programs;
mod check;
mod clock_jumps;
mod closed_mesh;
mod dns;
mod doctor;
mod enforce_existing;
mod explain;
mod health;
mod hitless;
mod limits;
mod lockout;
mod mistakes;
mod names;
mod on_remove;
mod policies;
mod policies_under_fire;
mod probes;
mod query_capture;
mod run;
mod screen;
mod socket;
mod trace;
mod trace_dns;
mod trial;
mod udp_failover;
mod unattended;
mod unit_begins;
mod unit_restart;
mod waypoint_down;
mod zone;

/// The product, built beside the tests.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kmesh-lite-under-test");
