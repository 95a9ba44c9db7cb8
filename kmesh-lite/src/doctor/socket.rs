//! The control socket.

use super::{Check, Finding};
use crate::api::Status;
use crate::control::ClientError::{self, Denied, NotRunning, Silent};
use crate::control::lock_holder;
use crate::log::chain;
use nix::unistd::{Gid, Group, Uid, User};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The socket and its lock as files.
#[derive(Clone, Debug, Default)]
pub struct ControlSocket {
    pub path: PathBuf,
    /// None if it is not there, or out of reach.
    file: Option<SocketFile>,
    /// The process that holds the lock beside it.
    pub holder: Option<u32>,
}

#[derive(Clone, Debug)]
struct SocketFile {
    is_socket: bool,
    owner: String,
    group: String,
    mode: u32,
}

pub fn look(path: PathBuf) -> ControlSocket {
    ControlSocket {
        file: path.metadata().ok().map(|about| SocketFile {
            is_socket: about.file_type().is_socket(),
            owner: user_name(about.uid()),
            group: group_name(about.gid()),
            mode: about.mode(),
        }),
        holder: lock_holder(&path),
        path,
    }
}

pub fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

pub fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

/// `process` is the daemon's, by its lock or by systemd.
pub fn judge(
    socket: &ControlSocket,
    process: Option<u32>,
    status: &Result<Status, ClientError>,
) -> Check {
    let path = socket.path.display();
    let Some(file) = &socket.file else {
        return absent(&socket.path, process, status).named("socket");
    };
    let mode = file.mode & 0o777;
    let whose = format!("{path} ({}:{}, mode {mode:04o})", file.owner, file.group);
    match (status, process) {
        _ if !file.is_socket => Finding::problem(
            format!("{path} is not a socket, and the daemon will not replace it"),
            format!("`rm {path}`, or name another with --socket"),
        ),
        (Ok(_), _) if mode & 0o007 != 0 => Finding::warning(
            format!("{whose} is open to everybody, whom the daemon then turns away"),
            format!("`chmod 660 {path}`"),
        ),
        (Ok(Status { daemon: Some(about), .. }), _) => {
            Finding::fine(format!("{whose}, answered by process {}", about.pid))
        }
        (Ok(_), _) => other_version(&whose, "the daemon does not say what it is"),
        (Err(NotRunning(_)), None) => Finding::fine(format!("{whose} is left over, which does no harm")),
        (Err(NotRunning(_) | Silent { .. }), Some(holder)) => Finding::problem(
            format!("{whose} is not answered, though process {holder} runs"),
            format!(
                "if it is stopping or starting, wait; if it hangs, `kill -9 {holder}`: where systemd runs it, that \
                 starts it again, and connects go on meanwhile (`journalctl -u kmesh-lite` may say why); elsewhere \
                 the mesh ends with it"
            ),
        ),
        (Err(Silent { .. }), None) => Finding::problem(
            format!("{whose} does not answer"),
            "see who listens there: `ss -lxp`",
        ),
        (Err(Denied { group, .. }), _) => Finding::unknown(
            format!("this user may not use {whose}"),
            match group {
                None => "run this as root".to_owned(),
                Some(group) => format!("run this as root or as a member of the group {group}"),
            },
        ),
        (Err(error), _) => other_version(&whose, &chain(error)),
    }
    .named("socket")
}

fn other_version(whose: &str, why: &str) -> Finding {
    Finding::problem(
        format!("{whose}: {why}"),
        "make sure that the daemon and this program are of one version",
    )
}

fn absent(path: &Path, holder: Option<u32>, status: &Result<Status, ClientError>) -> Finding {
    let path = path.display();
    match (status, holder) {
        (Err(Denied { .. }), _) => Finding::unknown(
            format!("this user may not look for {path}"),
            "run this as root",
        ),
        (_, Some(holder)) => Finding::problem(
            format!("{path} is not there, though process {holder} runs"),
            "ask again in a few seconds: the daemon makes it anew, unless it is stopping, or cannot, for which \
             `journalctl -u kmesh-lite` has the reason",
        ),
        (_, None) => Finding::fine(format!("{path} is not there: no daemon runs on it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::State;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};
    use crate::doctor::daemon::tests::{denied, nobody, running, silent};
    use std::io;

    fn there(mode: u32, holder: Option<u32>) -> ControlSocket {
        ControlSocket {
            path: "/run/kmesh-lite/control.sock".into(),
            file: Some(SocketFile {
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
        let nowhere = |holder| ControlSocket {
            holder,
            ..ControlSocket::default()
        };
        let fine = || running(State::Routing);
        let failed = Err(ClientError::Start(io::Error::other("?")));
        for (socket, status, verdict) in [
            (there(0o660, Some(7)), fine(), Fine),
            (there(0o666, Some(7)), fine(), Warning),
            (there(0o660, None), nobody(), Fine),
            (there(0o660, Some(7)), nobody(), Problem),
            (there(0o660, Some(7)), silent(), Problem),
            (there(0o660, None), silent(), Problem),
            (there(0o660, Some(7)), denied(), Unknown),
            (there(0o660, Some(7)), failed, Problem),
            (nowhere(None), nobody(), Fine),
            (nowhere(Some(7)), nobody(), Problem),
            (nowhere(None), denied(), Unknown),
        ] {
            let check = judge(&socket, socket.holder, &status);
            assert_eq!(check.verdict, verdict, "{socket:?} {status:?}");
        }
        let mut file = there(0o644, None);
        file.file.as_mut().unwrap().is_socket = false;
        assert_eq!(judge(&file, None, &nobody()).verdict, Problem);
    }

    #[test]
    fn a_user_who_may_not_ask_is_told_the_group() {
        let check = judge(&there(0o660, None), None, &denied());
        assert!(check.todo.unwrap().contains("group kmesh"));
    }
}
