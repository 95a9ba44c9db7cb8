//! `run`: the daemon.

use super::{CliError, Exit, VerbResult, args};
use crate::agent::{Companion, CompanionOptions};
use crate::daemon::{self, DaemonOptions, Headers, LastGood, Systemd};
use crate::kernel::{Kernel, KernelError, KernelOptions, instance};
use crate::model::CgroupRef;
use crate::sources::Files;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub fn run(args: args::Run) -> VerbResult {
    crate::log::init(args.log_level)?;
    let options = DaemonOptions {
        socket: absolute(&args.socket.path)?,
        cgroups: args
            .cgroups
            .iter()
            .map(|path| CgroupRef::Path(rooted(path)))
            .collect(),
        resync: Duration::from_secs(args.resync),
    };
    let source = Files::new(absolute(&args.config)?);
    // Before the kernel is touched.
    let claim = daemon::claim(&options.socket)?;
    let own = KernelOptions {
        daemon: Some(std::process::id()),
        instance: instance(&options.socket),
        store: Arc::new(Systemd),
        ..KernelOptions::default()
    };
    // On a thread of its own: a client that waits for its server must not wait for a pass.
    let mut reader = None;
    let mut left = Systemd::descriptors();
    let companion = (!args.no_agent).then(|| CompanionOptions {
        socket: options.socket.clone(),
        log_level: args.log_level,
    });
    // Not before the descriptors of the kernel's side are closed to programs that are started. It ends with
    // this function.
    let companion = companion.map(Companion::start).transpose();
    let _companion = companion.map_err(CliError::Companion)?;
    let last_good = LastGood::take_over(&mut left, Arc::new(Systemd));
    daemon::run(options, claim, source, last_good, |room, limits| {
        let mut kernel = Kernel::take_over(room, KernelOptions { limits, ..own }, left)?;
        if let Some(records) = kernel.take_records() {
            let mut headers = Headers::default();
            reader = Some(
                records
                    .read(move |event, sink| headers.decide(event, sink))
                    .map_err(KernelError::Records)?,
            );
        }
        Ok::<_, KernelError>(kernel)
    })?;
    Ok(Exit::Fine)
}

/// Links stay as they are: where they lead may change.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::Path {
        path: path.to_owned(),
        source,
    })
}

/// A path below the cgroup v2 mount, as the model writes it. A full path stays one: only the kernel
/// side knows the mount, and takes both.
pub fn rooted(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_named_from_the_root_or_in_full() {
        for (written, meant) in [
            ("kmesh.slice", "/kmesh.slice"),
            ("/kmesh.slice", "/kmesh.slice"),
            ("/sys/fs/cgroup/kmesh.slice", "/sys/fs/cgroup/kmesh.slice"),
        ] {
            assert_eq!(rooted(Path::new(written)), Path::new(meant));
        }
    }
}
