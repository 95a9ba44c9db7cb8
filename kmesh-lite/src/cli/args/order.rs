//! What the operator wants of endpoints.

use super::values::span;
use super::{Format, Socket};
use crate::cli::completions;
use clap_complete::ArgValueCandidates;

const MEANT: &str = "\
ENDPOINT is SERVICE/ADDRESS, SERVICE/ADDRESS:PORT or SERVICE/NAME of an entry of `[endpoints]`; or SERVICE/NAME of a DNS
name, for all addresses that it has and will have, and SERVICE/NAME@ADDRESS for one of them. Without the service, it is
meant in every service that has it. It counts at once and over restarts, until it is changed; `kmesh-lite status` shows it.";

#[derive(Debug, clap::Args)]
#[command(after_long_help = MEANT, after_help = "\
Examples:
  kmesh-lite drain payments/10.0.2.10               no new connections
  kmesh-lite drain 10.0.2.10 --wait                 in every service; returns when none is open
  kmesh-lite drain payments/db-1 --wait --timeout 5m
  kmesh-lite drain payments/db-1 --wait --kill-after 5m   ends what is open then
  kmesh-lite ready payments/10.0.2.10               takes it back

Exit codes: 0 done, 1 with --timeout or --kill-after: some connections are still open.")]
pub struct Drain {
    /// SERVICE/ENDPOINT, or ENDPOINT for every service that has it
    #[arg(add = ArgValueCandidates::new(completions::endpoints))]
    pub endpoint: String,
    /// Wait until no connection is open, and show how many are
    #[arg(long)]
    pub wait: bool,
    /// Wait no longer than this: 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = span, requires = "wait")]
    pub timeout: Option<u64>,
    /// After this time, end the connections that are still open: 30s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = span, requires = "wait")]
    pub kill_after: Option<u64>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = MEANT, after_help = "\
Examples:
  kmesh-lite maintenance payments/10.0.2.10         no new connections, and no probes
  kmesh-lite ready payments/10.0.2.10               takes it back")]
pub struct Of {
    /// SERVICE/ENDPOINT, or ENDPOINT for every service that has it
    #[arg(add = ArgValueCandidates::new(completions::endpoints))]
    pub endpoint: String,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = MEANT, after_help = "\
Examples:
  kmesh-lite weight payments/10.0.2.10 50           its share of new connections, beside the weights of the others
  kmesh-lite weight payments/10.0.2.10              that of the file again")]
pub struct Weight {
    /// SERVICE/ENDPOINT, or ENDPOINT for every service that has it
    #[arg(add = ArgValueCandidates::new(completions::endpoints))]
    pub endpoint: String,
    /// Its share of new connections; that of the file if it is left out
    pub value: Option<u32>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}
