//! `run`: the daemon.

use super::{CliError, Exit, VerbResult, args};
use crate::agent::{Companion, CompanionOptions};
use crate::daemon::{self, DaemonOptions, Headers, Remembered, Systemd};
use crate::kernel::{Kernel, KernelError, KernelOptions, instance};
use crate::model::CgroupRef;
use crate::sources::Files;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the packages call the unit of the agent.
const AGENT: &str = "kmesh-lite-agent.service";

pub fn run(args: args::Run) -> VerbResult {
    crate::log::init(args.log_level)?;
    let socket = absolute(&args.socket.path)?;
    let options = DaemonOptions {
        state: state_folder(&socket),
        runtime: folder_of_unit("RUNTIME_DIRECTORY"),
        socket,
        cgroups: args
            .cgroups
            .iter()
            .map(|path| CgroupRef::Path(rooted(path)))
            .collect(),
        agent: args.no_agent.then(|| CgroupRef::from(AGENT)),
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
    let remembered = Remembered::take_over(&mut left, &own.store);
    daemon::run(options, claim, source, remembered, |room, limits| {
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

/// Where systemd says that state is kept, or beside the control socket.
fn state_folder(socket: &Path) -> PathBuf {
    let beside = || socket.parent().unwrap_or(Path::new("/")).to_owned();
    folder_of_unit("STATE_DIRECTORY").unwrap_or_else(beside)
}

/// A folder that systemd made for the unit.
fn folder_of_unit(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    folder.filter(|path| path.is_absolute())
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
