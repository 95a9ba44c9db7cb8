//! `agent`: the process that talks to the network.

use super::run::absolute;
use super::{Exit, VerbResult, args};

pub fn run(args: args::Agent) -> VerbResult {
    crate::log::init(args.log_level)?;
    crate::agent::run(absolute(&args.socket.path)?)?;
    Ok(Exit::Fine)
}
