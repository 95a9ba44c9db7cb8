//! The control socket, and the daemon that answers on it.

use super::{Check, Finding};
use std::path::{Path, PathBuf};

/// What became of asking.
#[derive(Clone, Debug)]
pub enum Answer {
    Daemon(Daemon),
    /// No socket, or one that nobody listens on.
    Nobody,
    /// Members of this group may ask; none: root only.
    Denied(Option<String>),
    /// Too late, or not at all.
    Silent,
    Failed(String),
}

impl Answer {
    pub fn daemon(&self) -> Option<&Daemon> {
        match self {
            Self::Daemon(daemon) => Some(daemon),
            _ => None,
        }
    }
}

/// What a daemon says of itself.
#[derive(Clone, Debug)]
pub struct Daemon {
    pub pid: u32,
    pub version: Version,
    pub state: State,
    /// The state in one line.
    pub verdict: String,
    /// Why its last pass failed.
    pub failure: Option<String>,
    pub attached: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub version: String,
    pub commit: String,
    pub layout: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Routing,
    Waiting,
    Keeping,
    Failing,
}

/// The socket and its lock as files.
#[derive(Clone, Debug, Default)]
pub struct Socket {
    pub path: PathBuf,
    /// None if it is not there, or out of reach.
    pub file: Option<File>,
    /// The process that holds the lock beside it.
    pub holder: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct File {
    pub is_socket: bool,
    pub owner: String,
    pub group: String,
    pub mode: u32,
}

pub fn socket(socket: &Socket, answer: &Answer) -> Check {
    let path = socket.path.display();
    let Some(file) = &socket.file else {
        return absent(&socket.path, socket.holder, answer).named("socket");
    };
    let mode = file.mode & 0o777;
    let whose = format!("{path} ({}:{}, mode {mode:04o})", file.owner, file.group);
    match (answer, socket.holder) {
        _ if !file.is_socket => Finding::problem(
            format!("{path} is not a socket, and the daemon will not replace it"),
            format!("`rm {path}`, or name another with --socket"),
        ),
        (Answer::Daemon(_), _) if mode & 0o007 != 0 => Finding::warning(
            format!("{whose} is open to everybody, whom the daemon then turns away"),
            format!("`chmod 660 {path}`"),
        ),
        (Answer::Daemon(daemon), _) => {
            Finding::fine(format!("{whose}, answered by process {}", daemon.pid))
        }
        (Answer::Nobody, None) => Finding::fine(format!("{whose} is left over, which does no harm")),
        (Answer::Nobody | Answer::Silent, Some(holder)) => Finding::problem(
            format!("{whose} is not answered, though process {holder} holds its lock"),
            format!(
                "if it is stopping or starting, wait; if it hangs, `kill -9 {holder}`: systemd starts it again, and \
                 connects go on meanwhile (`journalctl -u kmesh-lite` may say why)"
            ),
        ),
        (Answer::Silent, None) => Finding::problem(
            format!("{whose} does not answer"),
            "see who listens there: `ss -lxp`",
        ),
        (Answer::Denied(group), _) => {
            let group = group.as_ref();
            Finding::unknown(
                format!("this user may not use {whose}"),
                group.map_or_else(
                    || "run this as root".to_owned(),
                    |group| format!("run this as root or as a member of the group {group}"),
                ),
            )
        }
        (Answer::Failed(why), _) => Finding::problem(
            format!("{whose}: {why}"),
            "make sure that the daemon and this program are of one version",
        ),
    }
    .named("socket")
}

fn absent(path: &Path, holder: Option<u32>, answer: &Answer) -> Finding {
    let path = path.display();
    match (answer, holder) {
        (Answer::Denied(_), _) => Finding::unknown(
            format!("this user may not look for {path}"),
            "run this as root",
        ),
        (_, Some(holder)) => Finding::problem(
            format!("{path} is not there, though process {holder} holds its lock"),
            "if it is starting or stopping, wait; otherwise `systemctl restart kmesh-lite` makes it anew",
        ),
        (_, None) => Finding::fine(format!("{path} is not there: no daemon runs on it")),
    }
}

/// How the daemon is. `ours` is the version of this program.
pub fn daemon(answer: &Answer, ours: &Version) -> Check {
    let daemon = match answer {
        Answer::Daemon(daemon) => daemon,
        Answer::Nobody => {
            return Finding::warning(
                "no daemon runs, so nothing follows the file",
                "`systemctl start kmesh-lite`; if it does not stay, `journalctl -u kmesh-lite -n 50` says why",
            )
            .named("daemon");
        }
        Answer::Denied(_) | Answer::Silent | Answer::Failed(_) => {
            return Finding::unknown("it was not to be asked", "see `socket`").named("daemon");
        }
    };
    let mut findings = Vec::new();
    let verdict = daemon.verdict.clone();
    findings.push(match daemon.state {
        State::Routing => Finding::fine(verdict),
        State::Waiting | State::Keeping => Finding::warning(
            verdict,
            "mend the file: `kmesh-lite check` shows what is wrong with it; it is applied as soon as it is saved",
        ),
        State::Failing => Finding::problem(
            match &daemon.failure {
                Some(failure) => format!("{verdict}: {failure}"),
                None => verdict,
            },
            "mend what it says; `kmesh-lite reload` tries again at once",
        ),
    });
    let theirs = &daemon.version;
    let restart = "`systemctl restart kmesh-lite`; connects go on meanwhile where systemd keeps the links (see `fd_store`)";
    if theirs.layout != ours.layout {
        findings.push(Finding::warning(
            format!(
                "it has tables of layout {}, and this kmesh-lite makes layout {}",
                theirs.layout, ours.layout
            ),
            restart,
        ));
    }
    if (&theirs.version, &theirs.commit) != (&ours.version, &ours.commit) {
        findings.push(Finding::warning(
            format!(
                "it is version {} ({}), and this is {} ({})",
                theirs.version, theirs.commit, ours.version, ours.commit
            ),
            restart,
        ));
    }
    Check::of("daemon", findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    fn version(commit: &str, layout: u32) -> Version {
        Version {
            version: "0.1.0".to_owned(),
            commit: commit.to_owned(),
            layout,
        }
    }

    fn running(state: State, version: Version) -> Answer {
        Answer::Daemon(Daemon {
            pid: 7,
            version,
            state,
            verdict: "how it is".to_owned(),
            failure: Some("why it fails".to_owned()),
            attached: Vec::new(),
        })
    }

    fn fine() -> Answer {
        running(State::Routing, version("abc", 3))
    }

    fn there(mode: u32, holder: Option<u32>) -> Socket {
        Socket {
            path: "/run/kmesh-lite/control.sock".into(),
            file: Some(File {
                is_socket: true,
                owner: "kmesh".to_owned(),
                group: "kmesh".to_owned(),
                mode,
            }),
            holder,
        }
    }

    #[test]
    fn a_socket_is_answered_or_nobody_holds_it() {
        let nowhere = |holder| Socket {
            holder,
            ..Socket::default()
        };
        let denied = || Answer::Denied(Some("kmesh".to_owned()));
        for (socket, answer, verdict) in [
            (there(0o660, Some(7)), fine(), Fine),
            (there(0o666, Some(7)), fine(), Warning),
            (there(0o660, None), Answer::Nobody, Fine),
            (there(0o660, Some(7)), Answer::Nobody, Problem),
            (there(0o660, Some(7)), Answer::Silent, Problem),
            (there(0o660, None), Answer::Silent, Problem),
            (there(0o660, Some(7)), denied(), Unknown),
            (there(0o660, Some(7)), Answer::Failed("?".into()), Problem),
            (nowhere(None), Answer::Nobody, Fine),
            (nowhere(Some(7)), Answer::Nobody, Problem),
            (nowhere(None), denied(), Unknown),
        ] {
            let check = super::socket(&socket, &answer);
            assert_eq!(check.verdict, verdict, "{socket:?} {answer:?}");
        }
        let mut file = there(0o644, None);
        file.file.as_mut().unwrap().is_socket = false;
        assert_eq!(super::socket(&file, &Answer::Nobody).verdict, Problem);
    }

    #[test]
    fn whoever_may_not_ask_is_told_the_group() {
        let answer = Answer::Denied(Some("kmesh".to_owned()));
        let check = super::socket(&there(0o660, None), &answer);
        assert!(check.todo.unwrap().contains("group kmesh"));
    }

    #[test]
    fn a_daemon_is_what_it_says_and_of_this_version() {
        let ours = version("abc", 3);
        for (answer, verdict) in [
            (fine(), Fine),
            (running(State::Waiting, ours.clone()), Warning),
            (running(State::Keeping, ours.clone()), Warning),
            (running(State::Failing, ours.clone()), Problem),
            (running(State::Routing, version("def", 3)), Warning),
            (running(State::Routing, version("abc", 2)), Warning),
            (Answer::Nobody, Warning),
            (Answer::Silent, Unknown),
            (Answer::Denied(None), Unknown),
        ] {
            let check = daemon(&answer, &ours);
            assert_eq!(check.verdict, verdict, "{answer:?}");
        }
        let failing = daemon(&running(State::Failing, ours.clone()), &ours);
        assert!(failing.found.contains("why it fails"), "{failing:?}");
    }
}
