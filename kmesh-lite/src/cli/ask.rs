//! Reading verbs: the daemon answers, and where there is none, the kernel.

use super::error::CliError;
use super::output::{WARN, complain};
use super::run::absolute;
use crate::api::{Failure, FailureKind};
use crate::control::{Client, ClientError};
use crate::kernel::{Observer, instance};
use crate::log::chain;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Asks the daemon on `socket`. If it does not run, asks its tables, and says so.
pub fn ask<T>(
    socket: PathBuf,
    daemon: impl FnOnce(&Client) -> Result<T, ClientError>,
    kernel: impl FnOnce(&mut Observer) -> Result<T, Failure>,
) -> Result<T, CliError> {
    let socket = absolute(&socket)?;
    match daemon(&Client::new(socket.clone())) {
        Err(ClientError::NotRunning(path)) => match observer(&socket)? {
            Some(mut tables) => {
                complain(&format!(
                    "{WARN}warning{WARN:#}: no daemon answers on {}; this is what the kernel holds",
                    path.display()
                ));
                Ok(kernel(&mut tables)?)
            }
            None => Err(ClientError::NotRunning(path).into()),
        },
        answer => Ok(answer?),
    }
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
