//! Who may reach what.

use super::super::completions;
use super::{Format, Socket};
use clap_complete::ArgValueCandidates;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite policies                     which client may reach which service, and by which policy
  kmesh-lite policies shop-in             one policy: whom it matches now, what it decides, what it refused
  kmesh-lite policies --json | jq '.outbound[] | select(.verdict == \"denied\")'

Clients are those that policies name, those that hold connections, those whose connections are counted
(`[accounting]`), and anyone else. They are judged by the tables of the kernel, as a connect is. A unit is
judged without its users and groups, unless a policy names users and it holds connections: then it has a line
for each user. One that does not run is judged by the file. A table that is wider than the terminal, or than
100 columns where there is none, becomes a list.")]
pub struct Policies {
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
        self.format.json
    }
}
