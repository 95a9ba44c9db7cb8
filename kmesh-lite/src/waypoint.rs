//! A waypoint: takes connections that begin with a header and relays them to where their client
//! wanted to go.

pub mod header;
