//! Reading verbs: the daemon answers, and where there is none, the kernel.

use super::error::CliError;
use super::output::{WARN, complain};
use super::run::absolute;
use crate::api::{Failure, FailureKind};
use crate::control::{Client, ClientError, lock_holder, process};
use crate::daemon::SOCKET;
use crate::doctor::service_process;
use crate::kernel::{Observer, instance};
use crate::log::chain;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Asks the daemon on `socket`. If it does not run or does not answer, asks its tables, and says so;
/// `kernel` is told the reason too.
pub fn ask<T>(
    socket: PathBuf,
    daemon: impl FnOnce(&Client) -> Result<T, ClientError>,
    kernel: impl FnOnce(&mut Observer, &str) -> Result<T, Failure>,
) -> Result<T, CliError> {
    let socket = absolute(&socket)?;
    let error = match daemon(&Client::new(socket.clone())) {
        Err(error @ (ClientError::NotRunning(_) | ClientError::Silent { .. })) => error,
        answer => return Ok(answer?),
    };
    let Some(mut tables) = observer(&socket)? else {
        return Err(error.into());
    };
    let why = match &error {
        ClientError::Silent { pid, .. } => format!("{} does not answer", process(*pid)),
        _ => match daemon_of(&socket) {
            Some(pid) => format!("process {pid} runs, but nobody listens"),
            None => "the daemon is not running".to_owned(),
        },
    };
    complain(&format!(
        "{WARN}warning{WARN:#}: {why} on {}; this is what the kernel holds",
        socket.display()
    ));
    Ok(kernel(&mut tables, &why)?)
}

/// The daemon's process, whose socket may be gone: by its lock, and where that is gone too, by systemd.
fn daemon_of(socket: &Path) -> Option<u32> {
    let of_unit = || service_process().filter(|_| socket == Path::new(SOCKET));
    lock_holder(socket).or_else(of_unit)
}

/// The tables of the daemon on this control socket; None if the kernel holds none, or may not be
/// asked by this user.
fn observer(socket: &Path) -> Result<Option<Observer>, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    Observer::find(instance(socket)).map_err(failed)
}

/// Why the kernel does not answer.
pub fn failed(error: impl Error + 'static) -> Failure {
    Failure::new(FailureKind::Failed, chain(&error))
}
