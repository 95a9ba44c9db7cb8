//! The mesh as it is meant: validated, resolved, without spans or spelling.
//!
//! In: what `config` lowered. Out: what `tables` is built from. No I/O here.

mod access_log;
mod backend;
mod capture;
mod endpoint;
mod facts;
mod limits;
mod locality;
mod mesh;
mod name;
mod service;
mod waypoint;

pub use access_log::{AccessLog, LogTarget};
pub use backend::Backend;
pub use capture::{Capture, CgroupRef};
pub use endpoint::Endpoint;
pub use facts::{Cgroup, EndpointFact, Facts, Membership};
pub use limits::{Limits, Table};
pub use locality::{Locality, Place, Scope, priority};
pub use mesh::Mesh;
pub use name::{Name, NameError};
pub use service::{Columns, PortMapping, Service, Vip};
pub use waypoint::Waypoint;

pub use kmesh_lite_common::{Balance, Caller, Family, Header, Policy, Protocol, Speaker};
