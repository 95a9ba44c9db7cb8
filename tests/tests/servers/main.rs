//! Programs that people use, as clients, as servers and as waypoints of a mesh in the kernel.

mod clients;
mod forwarder;
mod haproxy;
mod mariadb;
mod nginx;
mod smtp;
mod ssh;
