//! A mesh in the kernel of this machine, and sockets of this process that connect through it.

mod accounting;
mod capture;
mod connections;
mod datagrams;
mod drift;
mod facts;
mod facts_under_fire;
mod getpeername;
mod growth;
mod header_again;
mod header_closes;
mod header_lost;
mod header_sends;
mod headers;
mod kernel_tls;
mod loading;
mod moments;
mod native;
mod policy;
mod ports;
mod reload_under_fire;
mod routing;
mod server_first;
mod v6_only;
mod waypoint;
mod zero_copy;
