//! The mesh as it is meant: validated, resolved, without spans or spelling.
//!
//! In: what `config` lowered. Out: what `tables` is built from. No I/O here.

mod access_log;
mod address;
mod asker;
mod authorization;
mod backend;
mod capture;
mod check;
mod dns;
mod endpoint;
mod facts;
mod limits;
mod locality;
mod mesh;
mod name;
mod on_remove;
mod service;
mod serving;
mod slots;
mod waypoint;

pub use access_log::{AccessLog, LogTarget};
pub use address::unusable;
pub use asker::QueryCapture;
pub use authorization::{Authorization, LocalPorts, OnError, Principal, Source};
pub use backend::Backend;
pub use capture::{Capture, CgroupRef};
pub use check::{
    Check, CommandProbe, Eject, GrpcProbe, HttpProbe, OperatorState, Probe, TlsOptions,
};
pub use dns::{Dns, NamedEndpoints, OfName, Question, Record, RecordKind, dns_name, standing_by};
pub use endpoint::Endpoint;
pub use facts::{
    Cgroup, DepartedIds, DepartedKey, Down, EndpointFact, Facts, Membership, Namespace, OwnPorts,
    Standing, Standings,
};
pub use limits::{Limits, Table};
pub use locality::{Locality, Place, Scope, priority};
pub use mesh::{Mesh, NoSuchEndpoint, questions};
pub use name::{Name, NameError};
pub use on_remove::OnRemove;
pub use service::{Columns, OnAllDown, PortMapping, Service, Vip};
pub use serving::{Serving, UpstreamOrder};
pub use slots::largest_slots;
pub use waypoint::Waypoint;

pub use kmesh_lite_common::{
    Action, Balance, Caller, ClientsBy, Family, Header, Mode, Policy, Protocol, Speaker,
};
