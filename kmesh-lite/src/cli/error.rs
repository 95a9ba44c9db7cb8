//! Why a verb failed, and how it is told.

use super::output::{BOLD, ERROR, Output, WriteError};
use super::{Exit, output};
use crate::agent::AgentError;
use crate::api::{Failure, FailureKind};
use crate::control::ClientError;
use crate::daemon::DaemonError;
use crate::log::{LogError, chain};
use kmesh_lite_forwarder::ForwarderError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Client(ClientError),
    /// The daemon's own words.
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error("cannot find the current directory, which {} is relative to", .path.display())]
    Path {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("cannot start the thread of the agent")]
    Companion(#[source] io::Error),
    #[error(transparent)]
    Forwarder(#[from] ForwarderError),
    #[error(
        "nothing is allowed, and a waypoint that went anywhere would be an open proxy: `--config` \
         names a mesh file, `--allow` a network ({} does not exist)",
        super::args::CONFIG
    )]
    NothingAllowed,
    #[error("there is no service {0:?}")]
    NoService(String),
    #[error("`top` draws on a terminal, and this is none; `--once` prints a table")]
    NoTerminal,
    #[error("cannot draw on this terminal")]
    Terminal(#[source] io::Error),
    #[error("cannot make the completions")]
    Completions(#[source] io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Failure(failure) => Self::Failure(failure),
            error => Self::Client(error),
        }
    }
}

impl CliError {
    /// The failure as the daemon would say it.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Failure(failure) => return failure.clone(),
            Self::Client(ClientError::NotRunning(_) | ClientError::Silent { .. }) => {
                FailureKind::Unavailable
            }
            Self::Client(ClientError::Denied { .. }) => FailureKind::Forbidden,
            _ => FailureKind::Failed,
        };
        Failure::new(kind, chain(self))
    }

    /// Prints it; the chain of causes once. With `json` it goes to stdout.
    pub fn report(&self, json: bool, output: &mut Output) -> Exit {
        match self {
            Self::Write(error) if error.is_end_of_reading() => return Exit::Fine,
            // Whoever asks for JSON gets JSON, whatever went wrong.
            _ if json => {
                let _ = output.json(&self.failure());
            }
            Self::Failure(Failure {
                error,
                problems: Some(problems),
                ..
            }) => {
                output::complain(&format!(
                    "{}\n\n{ERROR}error{ERROR:#}{BOLD}: {error}{BOLD:#}",
                    problems.text.trim_end()
                ));
            }
            _ => output::complain(&format!(
                "{ERROR}error{ERROR:#}{BOLD}:{BOLD:#} {}",
                chain(self)
            )),
        }
        match self {
            Self::Failure(Failure {
                kind: FailureKind::InvalidConfiguration,
                ..
            }) => Exit::InvalidConfiguration,
            _ => Exit::Failed,
        }
    }
}
