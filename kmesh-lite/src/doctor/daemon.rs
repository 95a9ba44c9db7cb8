//! The daemon that answers on the control socket.

use super::{Check, Finding};
use crate::api::{About, FailureKind, State, Status};
use crate::control::{Client, ClientError};
use kmesh_lite_common::LAYOUT_VERSION;
use std::path::Path;
use std::time::Duration;

/// A daemon that takes longer is one to be told about.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn look(socket: &Path) -> Result<Status, ClientError> {
    let client = Client::new(socket.to_owned()).patient_for(PATIENCE);
    client.get("status", &[]).map_err(|error| match error {
        ClientError::Failure(failure) if failure.kind == FailureKind::Forbidden => {
            ClientError::Denied {
                socket: socket.to_owned(),
                group: None,
            }
        }
        error => error,
    })
}

/// `process` is the daemon's, by its lock or by systemd.
pub fn judge(process: Option<u32>, status: &Result<Status, ClientError>) -> Check {
    let status = match (status, process) {
        (Ok(status), _) => status,
        (Err(_), Some(process)) => {
            return Finding::unknown(
                format!("process {process} runs, but was not to be asked"),
                "see `socket`",
            )
            .named("daemon");
        }
        (Err(ClientError::NotRunning(_)), None) => {
            return Finding::warning(
                "no daemon runs, so nothing follows the file",
                "`systemctl start kmesh-lite`; if it does not stay, `journalctl -u kmesh-lite -n 50` says why",
            )
            .named("daemon");
        }
        (Err(_), None) => {
            return Finding::unknown("it was not to be asked", "see `socket`").named("daemon");
        }
    };
    let mut findings = Vec::new();
    let verdict = status.verdict.clone();
    findings.push(match status.state {
        State::Routing => Finding::fine(verdict),
        State::Keeping if status.config.as_ref().is_some_and(|it| !it.present) => Finding::warning(
            verdict,
            "put the file back, which may be empty where drop-ins say all; or stop and start the service, which then \
             goes by what there is",
        ),
        State::Waiting | State::Keeping => Finding::warning(
            verdict,
            "mend what it says: `kmesh-lite check` shows what is wrong with a file that the daemon can read; it is applied as \
             soon as it is saved",
        ),
        State::Empty => Finding::warning(verdict, "add a service to the file"),
        State::Uncaptured => Finding::problem(
            verdict,
            "start what is to be routed, or mend `[capture] cgroups`: the whole host is captured without it",
        ),
        State::Failing | State::Unattended => Finding::problem(
            // It has the reason in it.
            verdict,
            "mend what it says; `kmesh-lite reload` tries again at once",
        ),
    });
    if let Some(about) = &status.daemon {
        findings.extend(versions(about));
    }
    Check::of("daemon", findings)
}

/// How the daemon's version differs from the one of this program.
fn versions(about: &About) -> Vec<Finding> {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("KMESH_LITE_COMMIT"));
    let mut findings = Vec::new();
    let mut differs = |found| {
        findings.push(Finding::warning(
            found,
            "`systemctl restart kmesh-lite`; connects go on meanwhile where systemd keeps the links (see `fd_store`)",
        ));
    };
    if about.layout_version != LAYOUT_VERSION {
        differs(format!(
            "it has tables of layout {}, and this kmesh-lite makes layout {LAYOUT_VERSION}",
            about.layout_version
        ));
    }
    if (&*about.version, &*about.commit) != (version, commit) {
        differs(format!(
            "it is version {} ({}), and this is {version} ({commit})",
            about.version, about.commit
        ));
    }
    findings
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::api::DatapathStatus;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    pub fn running(state: State) -> Result<Status, ClientError> {
        Ok(Status {
            state,
            verdict: "how it is".to_owned(),
            failure: Some("why it fails".to_owned()),
            config: None,
            last_reload: None,
            last_pass: None,
            trial: None,
            lockouts: Vec::new(),
            departed: Vec::new(),
            orders: Vec::new(),
            names: Vec::new(),
            events: None,
            datapath: DatapathStatus::default(),
            agent: None,
            dns: None,
            daemon: Some(About {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: env!("KMESH_LITE_COMMIT").to_owned(),
                layout_version: LAYOUT_VERSION,
                pid: 7,
                started: String::new(),
            }),
        })
    }

    pub fn nobody() -> Result<Status, ClientError> {
        Err(ClientError::NotRunning("control.sock".into()))
    }

    pub fn silent() -> Result<Status, ClientError> {
        Err(ClientError::Silent {
            socket: "control.sock".into(),
            pid: Some(7),
        })
    }

    pub fn denied() -> Result<Status, ClientError> {
        Err(ClientError::Denied {
            socket: "control.sock".into(),
            group: Some("kmesh".to_owned()),
        })
    }

    #[test]
    fn a_daemon_is_what_it_says_and_of_this_version() {
        let other = |change: fn(&mut About)| {
            let mut status = running(State::Routing).unwrap();
            status.daemon.as_mut().map(change);
            Ok(status)
        };
        for (status, verdict) in [
            (running(State::Routing), Fine),
            (running(State::Waiting), Warning),
            (running(State::Keeping), Warning),
            (running(State::Failing), Problem),
            (other(|about| about.commit = "def".to_owned()), Warning),
            (other(|about| about.layout_version -= 1), Warning),
            (nobody(), Warning),
            (silent(), Unknown),
            (denied(), Unknown),
        ] {
            let check = judge(None, &status);
            assert_eq!(check.verdict, verdict, "{status:?}");
        }
        let hidden = judge(Some(7), &nobody());
        assert_eq!(hidden.verdict, Unknown);
        assert!(!hidden.todo.unwrap().contains("systemctl"));
        // The verdict of a daemon ends with the reason, which is enough.
        let failing = judge(None, &running(State::Failing));
        assert_eq!(failing.found, "how it is");
    }
}
