//! Whether the daemon can read the configuration, and who else can write it.

use super::{Check, Finding, Subject};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Permissions {
    /// If systemd or /proc names the user.
    daemon: Option<DaemonUser>,
    /// Files and folders that are there; folders on the way come first.
    modes: Vec<FileMode>,
}

/// The user that the daemon runs as, or would.
#[derive(Clone, Debug)]
struct DaemonUser {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

/// The owner and the mode of a file, by stat(2).
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMode {
    path: PathBuf,
    role: Role,
    uid: u32,
    gid: u32,
    mode: u32,
}

/// The part that a path plays for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A folder on the way.
    Way,
    /// A folder whose entries count.
    Folder,
    File,
}

const READ: u32 = 0o4;
const WRITE: u32 = 0o2;
const SEARCH: u32 = 0o1;

impl DaemonUser {
    /// Whether the mode alone lets this user do that; lists of access rights are not looked at.
    fn may(&self, what: u32, file: &FileMode) -> bool {
        let bits = match file {
            _ if self.uid == 0 => return true,
            FileMode { uid, .. } if *uid == self.uid => file.mode >> 6,
            FileMode { gid, .. } if self.groups.contains(gid) => file.mode >> 3,
            _ => file.mode,
        };
        bits & what == what
    }
}

pub fn look(subject: &Subject) -> Permissions {
    let configuration = &subject.config;
    let file = configuration.file.as_path();
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut paths: Vec<_> = folder
        .ancestors()
        .skip(1)
        .map(|path| (path, Role::Way))
        .collect();
    paths.reverse();
    paths.extend([
        (folder, Role::Folder),
        (&configuration.drop_ins, Role::Folder),
        (file, Role::File),
    ]);
    let others = configuration.files.iter().map(PathBuf::as_path);
    let others = others.filter(|path| *path != file);
    paths.extend(others.map(|path| (path, Role::File)));
    let mode = |(path, role): (&Path, Role)| {
        let about = path.metadata().ok()?;
        Some(FileMode {
            path: path.to_owned(),
            role,
            uid: about.uid(),
            gid: about.gid(),
            mode: about.mode(),
        })
    };
    Permissions {
        daemon: daemon(subject),
        modes: paths.into_iter().filter_map(mode).collect(),
    }
}

fn daemon(subject: &Subject) -> Option<DaemonUser> {
    let by_id = |uid| User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let of_unit = || {
        let name = subject.unit.as_ref().ok()?.user();
        let by_name = User::from_name(name).ok().flatten();
        by_name.or_else(|| by_id(name.parse().ok()?))
    };
    let running = || {
        by_id(
            fs::metadata(format!("/proc/{}", subject.process?))
                .ok()?
                .uid(),
        )
    };
    let user = of_unit().or_else(running)?;
    let name = CString::new(user.name.clone()).ok();
    let groups = name.and_then(|name| getgrouplist(&name, user.gid).ok());
    let groups = groups.unwrap_or_else(|| vec![user.gid]).into_iter();
    Some(DaemonUser {
        name: user.name,
        uid: user.uid.as_raw(),
        groups: groups.map(Gid::as_raw).collect(),
    })
}

pub fn judge(permissions: &Permissions) -> Check {
    let daemon = permissions.daemon.as_ref();
    let mut findings = Vec::new();
    for file in &permissions.modes {
        let path = file.path.display();
        let mode = file.mode & 0o7777;
        let needed = match file.role {
            Role::Way => SEARCH,
            Role::Folder => READ | SEARCH,
            Role::File => READ,
        };
        if let Some(daemon) = daemon.filter(|daemon| !daemon.may(needed, file)) {
            let letters = match file.role {
                Role::Way => "x",
                Role::Folder => "rx",
                Role::File => "r",
            };
            findings.push(Finding::problem(
                format!(
                    "{path} (mode {mode:04o}) cannot be read by {}, whom the daemon runs as",
                    daemon.name
                ),
                format!(
                    "`chmod o+{letters} {path}`, or give it to a group of {}",
                    daemon.name
                ),
            ));
        }
        // A folder on the way may be one for everybody, such as /tmp.
        if file.role != Role::Way && mode & WRITE != 0 {
            findings.push(Finding::warning(
                format!(
                    "anybody can write {path} (mode {mode:04o}), and so send connections anywhere"
                ),
                format!("`chmod o-w {path}`"),
            ));
        }
    }
    if findings.is_empty() {
        let any = permissions.modes.iter().any(|file| file.role == Role::File);
        findings.push(Finding::fine(match daemon {
            _ if !any => "no files are there".to_owned(),
            Some(daemon) => format!(
                "{} can read them, and not everybody can write them",
                daemon.name
            ),
            None => "not everybody can write them".to_owned(),
        }));
    }
    Check::of("config_permissions", findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{self, Fine, Problem, Warning};

    fn file(role: Role, uid: u32, gid: u32, mode: u32) -> FileMode {
        let path = PathBuf::from("/etc/kmesh/mesh.toml");
        FileMode {
            path,
            role,
            uid,
            gid,
            mode,
        }
    }

    fn judged(daemon: Option<&DaemonUser>, file: &FileMode) -> Verdict {
        let permissions = Permissions {
            daemon: daemon.cloned(),
            modes: vec![file.clone()],
        };
        judge(&permissions).verdict
    }

    #[test]
    fn the_daemons_user_must_be_able_to_read() {
        let kmesh = DaemonUser {
            name: "kmesh".to_owned(),
            uid: 990,
            groups: vec![990, 44],
        };
        let root = DaemonUser {
            name: "root".to_owned(),
            uid: 0,
            groups: vec![0],
        };
        use Role::{File, Folder, Way};
        for (file, verdict) in [
            (file(File, 0, 0, 0o644), Fine),
            (file(File, 0, 0, 0o640), Problem),
            (file(File, 0, 44, 0o640), Fine),
            (file(File, 0, 990, 0o604), Problem),
            (file(File, 990, 990, 0o400), Fine),
            (file(File, 990, 990, 0o044), Problem),
            (file(Folder, 0, 0, 0o755), Fine),
            (file(Folder, 0, 0, 0o711), Problem),
            (file(Way, 0, 0, 0o711), Fine),
            (file(Way, 0, 0, 0o700), Problem),
        ] {
            assert_eq!(judged(Some(&kmesh), &file), verdict, "{file:?}");
            assert_eq!(judged(Some(&root), &file), Fine);
        }
    }

    #[test]
    fn nobody_else_is_to_write() {
        for (role, mode, verdict) in [
            (Role::File, 0o666, Warning),
            (Role::File, 0o664, Fine),
            (Role::Folder, 0o777, Warning),
            // Drop-ins could be added to it all the same.
            (Role::Folder, 0o1777, Warning),
            (Role::Way, 0o1777, Fine),
        ] {
            let judged = judged(None, &file(role, 0, 0, mode));
            assert_eq!(judged, verdict, "{role:?} {mode:o}");
        }
    }
}
