//! The daemon on a control socket, and the socket as a file.

use crate::api::{self, Status};
use crate::control::{Client, ClientError};
use crate::daemon;
use crate::doctor::socket::{Answer, Daemon, File, Socket, State, Version};
use crate::host;
use crate::log::chain;
use nix::unistd::{Gid, Group, Uid, User};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A daemon that takes longer is one to be told about.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the daemon says, and its file.
pub fn ask(socket: &Path) -> (Answer, Option<PathBuf>) {
    let client = Client::new(socket.to_owned()).patient_for(PATIENCE);
    let status: Status = match client.get("status", &[]) {
        Ok(status) => status,
        Err(ClientError::NotRunning(_)) => return (Answer::Nobody, None),
        Err(ClientError::Denied { group, .. }) => return (Answer::Denied(group), None),
        Err(ClientError::Silent(_)) => return (Answer::Silent, None),
        Err(ClientError::Failure(failure)) if failure.kind == api::FailureKind::Forbidden => {
            return (Answer::Denied(None), None);
        }
        Err(error) => return (Answer::Failed(chain(&error)), None),
    };
    let file = status.config.map(|config| config.path);
    let state = match status.state {
        api::State::Routing => State::Routing,
        api::State::Waiting => State::Waiting,
        api::State::Keeping => State::Keeping,
        api::State::Failing | api::State::Unattended => State::Failing,
    };
    let Some(about) = status.daemon else {
        let why = "the daemon does not say what it is".to_owned();
        return (Answer::Failed(why), file);
    };
    let daemon = Daemon {
        pid: about.pid,
        version: Version {
            version: about.version,
            commit: about.commit,
            layout: about.layout_version,
        },
        state,
        verdict: status.verdict,
        failure: status.failure,
        attached: status.datapath.attached.iter().map(PathBuf::from).collect(),
    };
    (Answer::Daemon(daemon), file)
}

pub fn version() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("KMESH_LITE_COMMIT").to_owned(),
        layout: kmesh_lite_common::LAYOUT_VERSION,
    }
}

pub fn socket(path: &Path) -> Socket {
    let lock = std::fs::File::open(daemon::lock_path(path));
    Socket {
        path: path.to_owned(),
        file: path.metadata().ok().map(|about| File {
            is_socket: about.file_type().is_socket(),
            owner: user_name(about.uid()),
            group: group_name(about.gid()),
            mode: about.mode(),
        }),
        holder: lock.ok().and_then(|lock| host::lock_holder(&lock)),
    }
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}
