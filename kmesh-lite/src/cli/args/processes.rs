//! Verbs that are processes of their own: the daemon, the agent and a waypoint.

use super::values::{address, level};
use super::{CONFIG, Socket};
use clap::ValueEnum;
use ipnetwork::IpNetwork;
use log::LevelFilter;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite run                                    in a terminal: the daemon and its agent
  kmesh-lite run --config ./mesh.toml --socket ./control.sock --cgroup /test.slice
                                                    try a file on a few processes only
  kmesh-lite run --no-agent                         what the systemd unit does: the agent has its own

SIGHUP reloads the file and repairs drift; SIGTERM and SIGINT stop, a second one at once.
A missing or invalid file does not end the daemon: it says so and applies the file once it is mended.
An agent runs beside it as a child process, which probes endpoints and serves metrics. Where
root starts it, the agent is the user kmesh-agent, or else nobody, in the group of the control socket;
commands that it runs are in the group of that user, and end with the daemon.")]
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

It does what the daemon on the control socket says: it probes endpoints where `health` of mesh.toml says
so, looks up their DNS names, and tells the daemon what it found; it listens where `[metrics] listen` says so, and answers GET
/metrics there with what the daemon tells it. It needs no right but to read from the control socket.
While the daemon is away it answers 503, goes on probing, and follows the next one.
`kmesh-lite run` in a terminal starts one by itself.")]
pub struct Agent {
    /// It is started by `run`, which has the other end of its stdin
    #[arg(long, hide = true)]
    pub child: bool,
    #[command(flatten)]
    pub socket: Socket,
    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info", hide_possible_values = true, value_parser = level())]
    pub log_level: LevelFilter,
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
