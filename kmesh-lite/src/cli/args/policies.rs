//! Who may reach what.

use super::super::completions;
use super::values::span;
use super::{Format, Socket};
use clap::Subcommand;
use clap_complete::ArgValueCandidates;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kmesh-lite policies                     which client may reach which service, and by which policy
  kmesh-lite policies shop-in             one policy: whom it matches now, what it decides, what it refused
  kmesh-lite policies --json | jq '.outbound[] | select(.verdict == \"denied\")'

Clients are those that policies name, those that hold connections, those whose connections are counted
(`[accounting]`), and anyone else. They are judged by the tables of the kernel, as a connect is. A unit is
judged without its users and groups, unless a policy names users and it holds connections: then it has a line
for each user. One that does not run is judged by the file. A table that is wider than the terminal, or than
100 columns where there is none, becomes a list.

What may arrive is shown for each network, service and locality that policies name, before each target of which
they say where connections may come from. A network stands for those of its addresses that are in none of the
smaller ones; 512 sources are shown."
)]
pub struct Policies {
    #[command(subcommand)]
    pub verb: Option<PoliciesVerb>,
    /// Only this policy
    #[arg(add = ArgValueCandidates::new(completions::policies))]
    pub name: Option<String>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

impl Policies {
    pub fn json(&self) -> bool {
        match &self.verb {
            Some(PoliciesVerb::Suggest(args)) => args.format.json,
            None => self.format.json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum PoliciesVerb {
    /// Write the policies that would allow what was seen
    Suggest(Suggest),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite policies suggest > /etc/kmesh/mesh.d/90-seen.toml
                                          in audit mode: count for a while what they would refuse
  kmesh-lite policies suggest --enforce > /etc/kmesh/mesh.d/90-seen.toml
                                          then close the services to everybody else
  kmesh-lite policies suggest --since 1h  only from what connected within the last hour

A client is named by its systemd unit: by `NAME@*.service` where it is an instance of a template, and in the
same way where its name has the id of a container or the number of a command that systemd-run ran. Everything of
a user who is logged in is the slice of the user, such as `user-1000.slice`. Programs outside of units are named by
their cgroup, and those in the root cgroup by the user, as far as that was seen.

The daemon looks who connects when it compares the kernel (every 30 seconds, `run --resync`), when it starts and
when it is asked; the file says since when. It keeps that over restarts, as long as the service is not stopped. What
was counted before has no times, so `--since` leaves it out. It cannot name programs whose cgroup came and
went between two looks: their connections are said to be covered by nothing. Without `[accounting]` it sees
only connections that are open when it looks. Connects that a policy refuses, connects straight to the address of
an endpoint, datagrams, and programs that bypass the mesh are not seen. 16,384 pairs of a service and a client are kept.

Where this host has endpoints itself, `from` has the sources of what arrived at them over TCP. Addresses of endpoints are
counted (`[accounting]`), and become `service:NAME`; other addresses are known only of connections that stand when it
looks, in the daemon's network namespace. More than 16 of them become networks where they crowd. How many connections
came from such addresses is said, so that short ones are not forgotten. Other hosts see other clients and
sources: run it on each, or allow on all what was seen on any.")]
pub struct Suggest {
    /// Only from what was seen within this time: 30m or 24h
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub since: Option<u64>,
    /// Write policies that count at once, in place of audit mode
    #[arg(long, conflicts_with = "json")]
    pub enforce: bool,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}
