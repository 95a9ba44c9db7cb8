//! Verbs that show how the mesh is, and what happens in it.

use super::super::completions;
use super::values::{interval, span, unit};
use super::{Format, Socket};
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite status                       everything
  kmesh-lite status payments              one service, endpoint by endpoint
  kmesh-lite status --watch               again every two seconds
  kmesh-lite status --exit-code           for Nagios and cron

Exit codes: 0 there is a daemon, 1 there is none. With --exit-code they are those of a Nagios plugin:
0 routing; 1 a file that is missing or has errors, no services, a service all of whose endpoints are down
and that uses them nevertheless, one that refuses connections because all are drained or in maintenance,
or a DNS name that has not resolved; 2 a service that refuses because endpoints were found to be down or
such a name is all it has, a file that cannot be applied, no captured cgroup, or no daemon; 3 this user
cannot tell.")]
pub struct Status {
    /// Only this service, endpoint by endpoint
    #[arg(add = ArgValueCandidates::new(completions::services))]
    pub name: Option<String>,
    /// Exit with what a Nagios plugin would: 0 routing, 1 warning, 2 critical, 3 unknown
    #[arg(long)]
    pub exit_code: bool,
    /// Show it again and again, every two seconds if no other number is given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = interval, conflicts_with = "exit_code")]
    pub watch: Option<f64>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite top                          all services; `?` says which keys there are
  kmesh-lite top payments --sort failed   one service
  kmesh-lite top --once                   a table of the next second
  kmesh-lite top --json                   a line of JSON each second

Connections are counted while `[accounting]` is on. Bytes of connections that go on are counted when a daemon
is asked; without one, when they end.")]
pub struct Top {
    /// Only this service
    #[arg(add = ArgValueCandidates::new(completions::services))]
    pub name: Option<String>,
    /// Print one table, and end
    #[arg(long)]
    pub once: bool,
    /// What comes first
    #[arg(long, value_name = "COLUMN", default_value = "connects")]
    pub sort: SortKey,
    /// How often to look
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub interval: f64,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    Connects,
    Active,
    Failed,
    Latency,
    Bytes,
    Name,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite connections                  every open connection, oldest first
  kmesh-lite connections payments         those of one service
  kmesh-lite connections --json | jq '.connections[] | select(.unit == \"shop.service\")'

A connection is listed from connect() until the last program that holds its socket lets go of it. A
connect that failed is listed as well, for as long as the program keeps its socket.")]
pub struct Connections {
    /// Only those of this service
    #[arg(add = ArgValueCandidates::new(completions::services))]
    pub name: Option<String>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite trace                            every connection of the mesh, from now on
  kmesh-lite trace --service payments --outcome refused
                                              attempts that no endpoint accepted
  kmesh-lite trace --outcome rejected         what is refused before any packet, and why
  kmesh-lite trace --policy web-in            whom a policy refuses, or would in audit mode
  kmesh-lite trace --json | jq .duration_seconds
  kmesh-lite trace --dns                      every question to the agent, as it is answered
  kmesh-lite trace --dns --name '*.mesh' --outcome nxdomain
                                              names of the mesh that there are not

Needs the daemon, and `[accounting]` for all but decisions and refusals. It ends
with Ctrl-C. Programs in the kernel tell nothing while nobody asks: what was
before is kept only while an access log is written or another reader is there,
and no more than the last 4,096 events. A reader that does not keep up is told
how many events it lost. There may be 8 readers at a time.

An outcome that no event has is an error. A service, an endpoint or a policy that is
not in the mesh is warned of on standard error: it may be there later.

With --dns it shows each question that the agent answers, by [dns] listen or
[dns] capture: who asked, what came of it, how long that took, and which upstream
answered. Names are written as dig writes them. The agent tells nothing while
nobody asks, so nothing of before is there. An agent that is away is warned of on
standard error, and followed when it is back.")]
pub struct Trace {
    /// Show questions of DNS to the agent in place of connections
    #[arg(long, conflicts_with_all = ["unit", "endpoint", "policy", "since"])]
    pub dns: bool,
    /// Only questions for this name, such as web.mesh, or for all below it: '*.mesh'
    #[arg(long, value_name = "NAME", requires = "dns")]
    pub name: Option<String>,
    /// Only connections to this service, or questions for its names
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(completions::services))]
    pub service: Option<String>,
    /// Only connections of this systemd unit
    #[arg(long, value_name = "UNIT", value_parser = unit)]
    pub unit: Option<String>,
    /// Only connections to this endpoint, by its name in the status of its service
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Only these: an event (decided, rejected, established, failed, closed) or what became of it, such as refused, timed_out, reset or refuse_no_endpoint. With --dns: answered, nodata, nxdomain, forwarded, cached, failed, refused, malformed or dropped
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Option<String>,
    /// Only what this authorization policy refused, or would have in audit mode
    #[arg(long, value_name = "POLICY", add = ArgValueCandidates::new(completions::policies))]
    pub policy: Option<String>,
    /// Begin with what was so long ago, if it was kept: 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub since: Option<u64>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}
