//! Verbs that answer why something is as it is.

use super::super::completions;
use super::values::{goal, user};
use super::{Format, Socket};
use clap::ValueEnum;
use clap_complete::ArgValueCandidates;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite explain 10.96.0.10:80
  kmesh-lite explain '[fd00:96::10]:80'
  kmesh-lite explain 10.96.0.53:53 --protocol udp
  kmesh-lite explain payments.mesh:80     from a name of the mesh to the endpoint (`[dns] listen`)
  kmesh-lite explain payments.mesh        what is answered for it
  kmesh-lite explain 10.96.0.10:80 --unit shop.service
                                          for this program: is it captured, does it bypass the mesh,
                                          which endpoint does it keep, may it connect now?
  kmesh-lite explain 10.96.0.10:80 --user shop
                                          for a service with clients_by = \"user\"

Nothing changes by looking: nobody keeps an endpoint for longer, and no connect is counted.")]
pub struct Explain {
    /// What a program would connect to: an address, or a name of the mesh, which may be without a port
    #[arg(value_name = "ADDR:PORT|NAME[:PORT]", value_parser = goal, add = ArgValueCandidates::new(completions::frontends))]
    pub address: Goal,
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    #[command(flatten)]
    pub client: Client,
    /// As this user with its first group, for services whose clients are told apart by user, and for policies: a name, or the number that the host has for it
    #[arg(long, value_name = "NAME|UID", value_parser = user)]
    pub user: Option<u32>,
    /// As a connection that arrives at this host from this address
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["unit", "cgroup", "pid", "user"])]
    pub from: Option<IpAddr>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

/// Where a program would connect to.
#[derive(Clone, Debug)]
pub enum Goal {
    Address(SocketAddr),
    /// A DNS name, and a port.
    Name(String, Option<u16>),
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
    /// As this process: its cgroup and its user
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
