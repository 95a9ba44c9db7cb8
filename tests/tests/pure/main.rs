//! Tests that need neither root nor a kernel: files, tables in memory, plans, packaging.

mod check;
mod clients;
mod decision;
mod departing;
mod faults;
mod golden;
mod growth;
mod hearsay;
mod lockouts;
mod names;
mod packaging;
mod plan_prefixes;
mod policies;
mod small_passes;
mod tampering;
