//! The arguments as written.

mod files;
mod order;
mod policies;
mod processes;
mod questions;
mod simulate;
mod values;
mod views;

pub use files::{Check, Confirm, Plan, Reload};
pub use order::{Drain, Of, Weight};
pub use policies::{Policies, PoliciesVerb, Suggest};
pub use processes::{Agent, HeaderKind, Run, Waypoint};
pub use questions::{Client, Doctor, Dump, Explain, Goal, Protocol};
pub use simulate::Simulate;
pub use views::{Connections, SortKey, Status, Top, Trace};

use crate::daemon::SOCKET;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// Where the configuration is unless told otherwise.
pub const CONFIG: &str = "/etc/kmesh/mesh.toml";

const EXAMPLES: &str = "\
Examples:
  kmesh-lite check                        is /etc/kmesh/mesh.toml valid?
  kmesh-lite plan                         what would applying it change?
  kmesh-lite reload                       apply it now and wait for the outcome
  kmesh-lite reload --confirm 60s         and go back in a minute, unless `kmesh-lite confirm` comes
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
    /// Run the agent: probe endpoints and serve metrics over TCP, without any right on this host
    Agent(Agent),
    /// Validate a file; needs no privileges and no daemon
    Check(Check),
    /// Show what applying the file would change
    Plan(Plan),
    /// Apply the file now, wait, and print the outcome
    Reload(Reload),
    /// Keep what a reload on trial applied: without this, the state before comes back
    Confirm(Confirm),
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
    /// Show who may reach what
    Policies(Policies),
    /// Show what each service would do if a zone, a host, an endpoint or a waypoint were down
    Simulate(Simulate),
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
            Self::Confirm(args) => args.format.json,
            Self::Status(args) => args.format.json,
            Self::Drain(args) => args.format.json,
            Self::Maintenance(args) | Self::Ready(args) => args.format.json,
            Self::Weight(args) => args.format.json,
            Self::Connections(args) => args.format.json,
            Self::Top(args) => args.format.json,
            Self::Trace(args) => args.format.json,
            Self::Explain(args) => args.format.json,
            Self::Policies(args) => args.json(),
            Self::Simulate(args) => args.format.json,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use log::LevelFilter;

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
    fn a_confirmation_is_waited_for_from_a_second_to_an_hour() {
        let parse = |time: &str| {
            let line = ["kmesh-lite", "reload", "--confirm", time];
            match Args::try_parse_from(line).map(|args| args.verb) {
                Ok(Verb::Reload(reload)) => Some(reload.confirm.unwrap()),
                _ => None,
            }
        };
        let times = ["1s", "60s", "5m", "1h", "90"].map(parse);
        assert_eq!(times, [1, 60, 300, 3_600, 90].map(Some));
        let wrong = ["0s", "61m", "2h", "-1s", "soon", ""].map(parse);
        assert_eq!(wrong, [None; 6]);
    }

    #[test]
    fn an_address_without_a_port_is_wrong_usage() {
        let line = ["kmesh-lite", "explain", "10.96.0.10"];
        assert_eq!(Args::try_parse_from(line).unwrap_err().exit_code(), 2);
    }
}
