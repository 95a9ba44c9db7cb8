//! From what the kernel holds, as values, to words and JSON.
//!
//! In: snapshots, tables and changes, with a daemon or without. Out: the types of `api`. Nothing here
//! asks the kernel or the host for anything.

mod arrivals;
mod caller;
mod candidates;
mod connections;
mod contents;
mod denied;
mod dump;
mod explain;
mod few;
mod filter;
mod health;
mod kept;
mod live;
mod lockout;
mod metrics;
mod moment;
mod name;
mod names;
mod open;
mod outlawed;
mod plan;
mod policies;
pub mod problems;
mod query;
mod rate;
mod refusals;
mod seen;
mod shares;
mod simulate;
mod status;
mod suggest;
mod sums;
mod titles;
mod traffic;

pub use arrivals::{Arrived, arrivals};
pub use caller::Client;
pub use connections::connections;
pub use contents::{contents, count};
pub use dump::dump;
pub use explain::{Asked, explain, explain_arrival};
pub use few::{FEW, first_few};
pub use filter::{no_such_outcome, not_there, query_outcome};
pub use health::{Known, endpoint_health, order_status, orders, why_down};
pub use live::LiveConnections;
pub use lockout::lockouts;
pub use metrics::{Format, History, Metrics};
pub use moment::{Names, Told, is_logged};
pub use name::explain_name;
pub use names::{names, tell_names};
pub use outlawed::{Outlawed, ends_any, outlawed};
pub use plan::{absent, plan};
pub use policies::{cgroups_of_clients, policies};
pub use query::query_event;
pub use refusals::Refusals;
pub use seen::{Seen, Served};
pub use simulate::simulate;
pub use status::{status, unattended};
pub use suggest::{Sight, suggest};
pub use sums::traffic;
pub use titles::titles;
