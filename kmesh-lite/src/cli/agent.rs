//! `agent`: the process that talks to the network.

use super::run::absolute;
use super::{Exit, VerbResult, args};

pub fn run(args: args::Agent) -> VerbResult {
    if args.child {
        crate::agent::begin_as_child()?;
    }
    crate::log::init(args.log_level)?;
    crate::agent::run(absolute(&args.socket.path)?, args.child)?;
    Ok(Exit::Fine)
}
