//! `run`: the daemon.

use super::{CliError, Exit, Outcome, args, parts};
use crate::daemon::{self, Options};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn run(args: args::Run) -> Outcome {
    crate::log::init(args.log_level)?;
    let options = Options {
        socket: absolute(&args.socket.path)?,
        cgroups: args.cgroups.iter().map(|path| rooted(path)).collect(),
        resync: Duration::from_secs(args.resync),
    };
    let source = parts::source(absolute(&args.config)?, false)?;
    // Before the kernel is touched.
    let claim = daemon::claim(&options.socket)?;
    daemon::run(options, claim, source, parts::datapath()?)?;
    Ok(Exit::Fine)
}

/// Links stay as they are: where they lead may change.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::Path {
        path: path.to_owned(),
        source,
    })
}

/// A path below the cgroup v2 mount, as the model writes it.
fn rooted(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}
