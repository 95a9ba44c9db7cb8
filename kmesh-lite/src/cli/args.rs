//! The arguments as written.

mod order;

pub use order::{Drain, Of, Weight};

use super::completions;
use crate::daemon::SOCKET;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::{ArgValueCandidates, Shell};
use ipnetwork::IpNetwork;
use log::LevelFilter;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the configuration is unless told otherwise.
pub const CONFIG: &str = "/etc/kmesh/mesh.toml";

const EXAMPLES: &str = "\
Examples:
  kmesh-lite check                        is /etc/kmesh/mesh.toml valid?
  kmesh-lite plan                         what would applying it change?
  kmesh-lite reload                       apply it now and wait for the outcome
  kmesh-lite status payments              one service, endpoint by endpoint
  kmesh-lite explain 10.96.0.10:80        where would a connect go, and why?
  kmesh-lite doctor                       it does not work: what is in the way?

Exit codes: 0 fine, 1 failed at run time, 2 wrong usage, 3 invalid configuration, 4 a plan has something to do.";

/// A service mesh in the kernel for hosts without Kubernetes.
///
/// kmesh-lite makes the kernel follow /etc/kmesh/mesh.toml: programs reach services by virtual
/// address, and the kernel picks the endpoint when they connect.
#[derive(Debug, Parser)]
#[command(name = "kmesh-lite", version = version(), after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon: keep the kernel equal to the file
    Run(Run),
    /// Run the agent: serve metrics over TCP, without any right on this host
    Agent(Agent),
    /// Validate a file; needs no privileges and no daemon
    Check(Check),
    /// Show what applying the file would change
    Plan(Plan),
    /// Apply the file now, wait, and print the outcome
    Reload(Reload),
    /// Show how the mesh is
    Status(Status),
    /// Give an endpoint no new connections, and leave those that it has
    Drain(Drain),
    /// The same, and do not probe it
    Maintenance(Of),
    /// Take back what was asked for by drain or maintenance
    Ready(Of),
    /// Give an endpoint another share of new connections
    Weight(Weight),
    /// List the open connections
    Connections(Connections),
    /// Watch connections come and go: rates, failures and times of each service
    Top(Top),
    /// Show what happens to connections, as it happens
    Trace(Trace),
    /// Replay the kernel's decision for an address on the live tables
    Explain(Explain),
    /// Print the kernel's tables
    Dump(Dump),
    /// Check the kernel, the host and the daemon, and say for each thing that it is fine, or what to do
    Doctor(Doctor),
    /// Run a waypoint: relay connections to where their header says
    Waypoint(Waypoint),
    /// Print the JSON Schema of the file, for editors
    Schema,
    /// Print completions for a shell
    Completions(Completions),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite run                                    in a terminal: the daemon and its agent
  kmesh-lite run --config ./mesh.toml --socket ./control.sock --cgroup /test.slice
                                                    try a file on a few processes only
  kmesh-lite run --no-agent                         what the systemd unit does: the agent has its own

SIGHUP reloads the file and repairs drift; SIGTERM and SIGINT stop, a second one at once.
A missing or invalid file does not end the daemon: it says so and applies the file once it is mended.
An agent runs beside it as a child process, which serves metrics where `[metrics] listen` says so. Where
root starts it, the agent is the user kmesh-agent, or else nobody, in the group of the control socket.")]
pub struct Run {
    /// The file; drop-ins are read from mesh.d beside it
    #[arg(long, value_name = "PATH", default_value = CONFIG)]
    pub config: PathBuf,
    /// Attach to this cgroup (its path, or the part below the cgroup v2 mount) in place of [capture].cgroups; repeatable
    #[arg(long = "cgroup", value_name = "PATH")]
    pub cgroups: Vec<PathBuf>,
    #[command(flatten)]
    pub socket: Socket,
    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", hide_possible_values = true, value_parser = level())]
    pub log_level: LevelFilter,
    /// Compare the kernel with the file this often and repair what differs
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub resync: u64,
    /// Start no agent: there is one already, or nothing is to be served over TCP
    #[arg(long)]
    pub no_agent: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite agent                                  what the systemd unit does

It does what the daemon on the control socket says: it listens where `[metrics] listen` of mesh.toml
says so, and answers GET /metrics there with what the daemon tells it. It needs no right but to read
from the control socket. While the daemon is away it answers 503, and it follows the next one.
`kmesh-lite run` in a terminal starts one by itself.")]
pub struct Agent {
    #[command(flatten)]
    pub socket: Socket,
    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", hide_possible_values = true, value_parser = level())]
    pub log_level: LevelFilter,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite check                                  the file and its drop-ins
  kmesh-lite check - < mesh.toml                    a file alone, from standard input
  kmesh-lite check --with ./20-shop.toml            a drop-in before it is one
  kmesh-lite check --with %s --as 20-shop.toml      the same from Ansible's `validate`, which gives it
                                                    another name until it is valid

Exit codes: 0 valid, 3 not valid.")]
pub struct Check {
    /// The file; drop-ins are read from mesh.d beside it. A hyphen reads standard input, and no drop-ins
    #[arg(value_name = "PATH", default_value = CONFIG)]
    pub path: PathBuf,
    /// Judge this file as if it stood in mesh.d, in place of a drop-in of the same name; a hyphen is standard input
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// The name that the file of --with will have in mesh.d [default: its own]
    #[arg(long = "as", value_name = "NAME", requires = "with", value_parser = drop_in)]
    pub name: Option<String>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite plan                         the daemon's own file
  kmesh-lite plan ./mesh.toml             another one, and its drop-ins
  kmesh-lite plan --exit-code             for scripts: 0 nothing to do, 4 something to do")]
pub struct Plan {
    /// Another file than the daemon's own; drop-ins are read from mesh.d beside it
    pub path: Option<PathBuf>,
    /// Exit with 4 if there is something to do
    #[arg(long)]
    pub exit_code: bool,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite status                       everything
  kmesh-lite status payments              one service, endpoint by endpoint
  kmesh-lite status --watch               again every two seconds
  kmesh-lite status --exit-code           for Nagios and cron

Exit codes: 0 there is a daemon, 1 there is none. With --exit-code they are those of a Nagios plugin:
0 routing; 1 a file that is missing or has errors, or no services; 2 a file that cannot be applied, no
captured cgroup, or no daemon; 3 this user cannot tell.")]
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

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3_600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("from 0.1 to 3600".to_owned())
    }
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
  kmesh-lite trace --json | jq .duration_seconds

Needs the daemon, and `[accounting]` for all but decisions and refusals. It ends
with Ctrl-C. Programs in the kernel tell nothing while nobody asks: what was
before is kept only while an access log is written or another reader is there,
and no more than the last 4,096 events. A reader that does not keep up is told
how many events it lost. There may be 8 readers at a time.")]
pub struct Trace {
    /// Only connections to this service
    #[arg(long, value_name = "SERVICE", add = ArgValueCandidates::new(completions::services))]
    pub service: Option<String>,
    /// Only connections of this systemd unit
    #[arg(long, value_name = "UNIT", value_parser = unit)]
    pub unit: Option<String>,
    /// Only connections to this endpoint, by its name in the status of its service
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Only these: an event (decided, rejected, established, failed, closed) or what became of it, such as refused, timed_out, reset or refuse_no_endpoint
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Option<String>,
    /// Begin with what was so long ago, if it was kept: 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub since: Option<u64>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite explain 10.96.0.10:80
  kmesh-lite explain '[fd00:96::10]:80'
  kmesh-lite explain 10.96.0.53:53 --protocol udp
  kmesh-lite explain 10.96.0.10:80 --unit shop.service
                                          for this program: is it captured, does it bypass the mesh?")]
pub struct Explain {
    /// What a program would connect to
    #[arg(value_name = "ADDR:PORT", value_parser = address, add = ArgValueCandidates::new(completions::frontends))]
    pub address: SocketAddr,
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    #[command(flatten)]
    pub client: Client,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

/// The program that connects; one that is captured if none is named.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct Client {
    /// As this systemd unit
    #[arg(long, value_name = "UNIT")]
    pub unit: Option<String>,
    /// As a program in this cgroup: its path below the cgroup v2 mount
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// As this process
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

#[derive(Debug, clap::Args)]
pub struct Dump {
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite doctor                       as root: everything; as others: what they may see
  kmesh-lite doctor --config ./mesh.toml --cgroup /test.slice
                                          would it work with that?
  kmesh-lite doctor --json | jq '.checks[] | select(.verdict != \"fine\")'
                                          for scripts

Works with and without a daemon, and changes nothing: the programs are loaded,
attached to nothing, and let go of. A check is fine, a warning (it works, not as
it should), a problem, or unknown (this user cannot tell).
Exit codes: 0 no problem, 1 some problem.")]
pub struct Doctor {
    /// The file; drop-ins are read from mesh.d beside it [default: the daemon's own, or /etc/kmesh/mesh.toml]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Look at this cgroup (its path, or the part below the cgroup v2 mount) in place of those of the daemon or the file; repeatable
    #[arg(long = "cgroup", value_name = "PATH")]
    pub cgroups: Vec<PathBuf>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite waypoint --listen 0.0.0.0:15008        to the addresses of /etc/kmesh/mesh.toml
  kmesh-lite waypoint --listen '[::]:15008' --accept proxy-v2 --allow 10.96.0.0/16 --allow fd00:96::/64
                                                    to these networks and nowhere else

Without --config and --allow, destinations are those of /etc/kmesh/mesh.toml; without that file it
does not start. --config and --allow together allow what either does.

SIGHUP reads the file again; SIGUSR1 logs the counters; SIGTERM and SIGINT stop accepting and wait
for connections to end, a second one stops at once. Exit code 1 if connections were cut.")]
pub struct Waypoint {
    /// Listen here for connections that the kernel sends to this waypoint
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub listen: SocketAddr,
    /// Headers to accept; each is recognised by its first byte
    #[arg(
        long,
        value_enum,
        value_name = "HEADER",
        value_delimiter = ',',
        default_value = "tlv,proxy-v2"
    )]
    pub accept: Vec<HeaderKind>,
    /// Allow the services and backends of this file; drop-ins are read from mesh.d beside it
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Allow every address and port of this network; repeatable
    #[arg(long, value_name = "CIDR")]
    pub allow: Vec<IpNetwork>,
    /// How long a connection may take to send its whole header
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub header_timeout: u64,
    /// How long the destination may take to accept a connection
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub connect_timeout: u64,
    /// Reset a connection after this long without a byte in either direction; default: never
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub idle_timeout: Option<u64>,
    /// How many connections there may be at a time; more wait in the kernel's queue until one ends
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// How long connections may take to end by themselves after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub grace: u64,
    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", hide_possible_values = true, value_parser = level())]
    pub log_level: LevelFilter,
}

/// A header that says where a connection wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HeaderKind {
    /// Kmesh's
    Tlv,
    /// The PROXY protocol, version 2
    ProxyV2,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  kmesh-lite completions bash > /usr/share/bash-completion/completions/kmesh-lite")]
pub struct Completions {
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, clap::Args)]
pub struct Socket {
    /// The daemon's control socket
    #[arg(id = "socket", long = "socket", value_name = "PATH", default_value = SOCKET)]
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Format {
    /// Print JSON, of a stable shape
    #[arg(long)]
    pub json: bool,
}

impl Verb {
    /// Whether JSON was asked for.
    pub fn json(&self) -> bool {
        match self {
            Self::Check(args) => args.format.json,
            Self::Plan(args) => args.format.json,
            Self::Reload(args) => args.format.json,
            Self::Status(args) => args.format.json,
            Self::Drain(args) => args.format.json,
            Self::Maintenance(args) | Self::Ready(args) => args.format.json,
            Self::Weight(args) => args.format.json,
            Self::Connections(args) => args.format.json,
            Self::Top(args) => args.format.json,
            Self::Trace(args) => args.format.json,
            Self::Explain(args) => args.format.json,
            Self::Dump(args) => args.format.json,
            Self::Doctor(args) => args.format.json,
            Self::Run(_)
            | Self::Agent(_)
            | Self::Waypoint(_)
            | Self::Schema
            | Self::Completions(_) => false,
        }
    }
}

fn version() -> String {
    format!(
        "{} (commit {}, table layout {})",
        env!("CARGO_PKG_VERSION"),
        env!("KMESH_LITE_COMMIT"),
        kmesh_lite_common::LAYOUT_VERSION
    )
}

fn level() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"])
        .try_map(|text| text.parse::<LevelFilter>())
}

/// Other names are not read from mesh.d.
fn drop_in(text: &str) -> Result<String, String> {
    if text.ends_with(".toml") && !text.starts_with('.') && !text.contains('/') {
        return Ok(text.to_owned());
    }
    Err("expected the name of a drop-in, such as 20-shop.toml".to_owned())
}

/// The name of a unit; one without a type is a service, as in systemctl.
fn unit(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(if text.contains('.') {
        text.to_owned()
    } else {
        format!("{text}.service")
    })
}

/// Seconds of a time such as `30s`.
fn span(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60,
        "h" => 3_600,
        _ => 1,
    };
    let parsed = number.parse::<u64>().ok();
    let span = parsed.and_then(|number| number.checked_mul(seconds));
    span.filter(|span| *span <= 31_536_000)
        .ok_or_else(|| "expected a time such as 30s, 5m or 1h".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address and a port, such as 10.96.0.10:80 or [fd00:96::10]:80".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_takes_several_cgroups() {
        let line = "kmesh-lite run --cgroup /a --cgroup /b --log-level debug";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let Verb::Run(run) = args.verb else {
            panic!("expected run, got {args:?}");
        };
        assert_eq!(run.cgroups, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(run.log_level, LevelFilter::Debug);
        assert_eq!(run.resync, 30);
    }

    #[test]
    fn a_waypoint_accepts_both_headers_unless_told_otherwise() {
        let parse = |line: &str| match Args::try_parse_from(line.split(' ')).unwrap().verb {
            Verb::Waypoint(waypoint) => waypoint,
            other => panic!("expected waypoint, got {other:?}"),
        };
        let usual = parse("kmesh-lite waypoint --listen 0.0.0.0:15008");
        assert_eq!(usual.accept, [HeaderKind::Tlv, HeaderKind::ProxyV2]);
        let one = parse("kmesh-lite waypoint --listen [::]:15008 --accept tlv --allow 10.0.0.0/8");
        assert_eq!(one.accept, [HeaderKind::Tlv]);
        assert_eq!(one.allow, ["10.0.0.0/8".parse().unwrap()]);
    }

    #[test]
    fn an_address_without_a_port_is_wrong_usage() {
        let line = ["kmesh-lite", "explain", "10.96.0.10"];
        assert_eq!(Args::try_parse_from(line).unwrap_err().exit_code(), 2);
    }
}
