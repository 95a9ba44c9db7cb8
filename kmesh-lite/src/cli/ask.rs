//! Reading verbs: the daemon answers, and where there is none, the kernel.

use super::error::CliError;
use super::output::{WARN, complain};
use super::run::absolute;
use crate::api::Failure;
use crate::control::{Client, ClientError};
use crate::daemon::Unattended;
use std::path::PathBuf;

/// Asks the daemon on `socket`. If it does not run, asks its tables, and says so.
pub fn ask<T>(
    socket: PathBuf,
    daemon: impl FnOnce(&Client) -> Result<T, ClientError>,
    kernel: impl FnOnce(&mut Unattended) -> Result<T, Failure>,
) -> Result<T, CliError> {
    let socket = absolute(&socket)?;
    match daemon(&Client::new(socket.clone())) {
        Err(ClientError::NotRunning(path)) => match Unattended::find(&socket)? {
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
