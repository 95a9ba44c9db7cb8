//! The JSON of the control socket and of `--json`: one stable shape, shared by server and client.
//!
//! Fields are only ever added. Addresses, durations and times are text or carry their unit in the
//! name; times are RFC 3339 in UTC. Texts are for people and may change; decide by the other fields.

mod agent;
mod check;
mod connections;
mod departed;
mod dump;
mod event;
mod explain;
mod failure;
mod health;
mod kill;
mod names;
mod order;
mod path;
mod plan;
mod policies;
mod query;
mod reload;
mod served;
mod simulate;
mod status;
mod suggestion;
mod time;
mod traffic;
mod zone;

pub use agent::{AgentReport, AgentStatus, Duties, ListenerReport, ListenerStatus};
pub use check::Checked;
pub use connections::{ConnectionStatus, Connections};
pub use departed::{Departed, KeptDeparture};
pub use dump::Row;
pub use event::{ConnectionEvent, LogStatus};
pub use explain::{Candidate, Explanation, KeptEndpoint, LeftOut, Step, VerdictKind};
pub use failure::{Failure, FailureKind, Findings};
pub use health::{
    Check, CommandProbe, Finding, GrpcProbe, HealthReport, HttpProbe, KnownTarget, KnownTargets,
    Probe, Target, TlsOptions,
};
pub use kill::{KillRequest, Killed, KilledEndpoint};
pub use names::{
    KeptRecord, KnownName, NameFinding, NameStatus, NamesReport, Question, Record, RecordKind,
    RefusedAddress, Resolving, TroubleKind,
};
pub use order::{Change, EndpointOrder, OrderRequest, Ordered, OrderedEndpoint};
pub use plan::{DeniedConnection, Denying, FileText, Leaving, PlanRequest, PlanText, Reloaded};
pub use policies::{AboutPolicy, Policies, PolicyClient, PolicySource, Reach};
pub use query::{QueriesReport, QueryEvent, ToldQuery};
pub use reload::{Confirmed, LockoutStatus, ReloadRequest, Session, TrialState, TrialStatus};
pub use served::{CaptureStatus, DnsStatus, NameExplanation, NamedExplanation, UpstreamStatus};
pub use simulate::{SimulateRequest, SimulatedEndpoint, SimulatedService, Simulation};
pub use status::{
    About, CallerStatus, ConfigStatus, Counter, DatapathStatus, EndpointHealth, EndpointStatus,
    LastPass, LastReload, OrderStatus, PolicyStatus, PriorityStatus, ServiceStatus, State, Status,
    TableUse, TrafficStatus,
};
pub use suggestion::{SeenPeer, SuggestedPolicy, Suggestion, Uncovered};
pub use time::{TimeBase, now};
pub use traffic::{NamedTraffic, ServiceTraffic, TrafficSums};
pub use zone::{
    DnsReport, QueryCount, QueryKind, QueryOutcome, Serving, Transport, UpstreamReport, Zone,
    ZoneRecords,
};
#[allow(
    unused_imports,
    reason = "the daemon makes them, and only the agent reads them"
)]
pub use zone::{Srv, UpstreamOrder};
