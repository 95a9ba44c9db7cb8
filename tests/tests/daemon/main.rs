//! The daemon as people run it: a process with a file, a socket, signals and a supervisor.

mod doctor;
mod hitless;
mod run;
mod unit_restart;
mod waypoint_down;
