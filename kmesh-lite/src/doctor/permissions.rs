//! Whether the daemon can read the configuration, and who else can write it.

use super::socket::{group_name, user_name};
use super::{Check, Finding, Subject};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Permissions {
    /// If systemd or /proc names the user.
    daemon: Option<DaemonUser>,
    /// Who asks; counts as the daemon's user where that is unknown.
    asker: u32,
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
    /// Of the user and the group, where the host knows them.
    owner: String,
    group: String,
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
const STICKY: u32 = 0o1000;

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
    let mut modes: Vec<_> = paths
        .iter()
        .filter_map(|(path, role)| FileMode::of(path, *role))
        .collect();
    // Links may lead elsewhere.
    let real: BTreeSet<_> = paths.iter().flat_map(|(path, _)| ways(path)).collect();
    for path in real {
        if !paths.iter().any(|(known, _)| *known == path) {
            modes.extend(FileMode::of(&path, Role::Way));
        }
    }
    Permissions {
        daemon: daemon(subject),
        asker: nix::unistd::geteuid().as_raw(),
        modes,
    }
}

impl FileMode {
    /// None if it is not there, or out of reach.
    fn of(path: &Path, role: Role) -> Option<Self> {
        let about = path.metadata().ok()?;
        Some(Self {
            path: path.to_owned(),
            role,
            uid: about.uid(),
            gid: about.gid(),
            mode: about.mode(),
            owner: user_name(about.uid()),
            group: group_name(about.gid()),
        })
    }
}

/// Links that the kernel follows for one path.
const MOST_LINKS: usize = 40;

/// The folders through which a path leads, and those through which it leads after each link.
fn ways(path: &Path) -> Vec<PathBuf> {
    let mut ways = Vec::new();
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(folder) = at.parent().and_then(|folder| folder.canonicalize().ok()) else {
            break;
        };
        ways.extend(folder.ancestors().map(Path::to_owned));
        match fs::read_link(&at) {
            Ok(target) => at = folder.join(target),
            // It is no link.
            Err(_) => break,
        }
    }
    ways
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
    let trusted = [0, daemon.map_or(permissions.asker, |daemon| daemon.uid)];
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
        findings.extend(writers(file, &trusted));
    }
    if findings.is_empty() {
        let any = permissions.modes.iter().any(|file| file.role == Role::File);
        findings.push(Finding::fine(match daemon {
            _ if !any => "no files are there".to_owned(),
            Some(daemon) => format!(
                "{} can read them, and nobody else can write them",
                daemon.name
            ),
            None => "nobody else can write them".to_owned(),
        }));
    }
    Check::of("config_permissions", findings)
}

/// Who may change the configuration by this file, beside those who are `trusted` to. They can send
/// every connection of the host wherever they want.
fn writers(file: &FileMode, trusted: &[u32]) -> Vec<Finding> {
    let (path, mode) = (file.path.display(), file.mode & 0o7777);
    let mut findings = Vec::new();
    let mut warn = |who: String, todo: String| {
        let found = format!("{who} can change the configuration, and so send connections anywhere");
        findings.push(Finding::warning(found, todo));
    };
    if !trusted.contains(&file.uid) {
        warn(
            format!("{}, whose {path} is,", file.owner),
            format!("`chown root {path}`, or keep the files in folders of root"),
        );
    }
    // In a folder with this bit, which may be one for everybody, such as /tmp, entries belong to their
    // owners. Drop-ins could be added to it all the same.
    if file.role == Role::Way && mode & STICKY != 0 {
        return findings;
    }
    if mode & WRITE != 0 {
        warn(
            format!("anybody (by {path}, mode {mode:04o})"),
            format!("`chmod o-w {path}`"),
        );
    }
    if mode >> 3 & WRITE != 0 && file.gid != 0 {
        warn(
            format!("the group {} (by {path}, mode {mode:04o})", file.group),
            format!("`chmod g-w {path}`"),
        );
    }
    findings
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
            owner: uid.to_string(),
            group: gid.to_string(),
        }
    }

    fn judged(daemon: Option<&DaemonUser>, file: &FileMode) -> Verdict {
        let permissions = Permissions {
            daemon: daemon.cloned(),
            asker: 0,
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
            // Root reads everything, and another user's file is for that user to write.
            let by_root = if file.uid == 0 { Fine } else { Warning };
            assert_eq!(judged(Some(&root), &file), by_root, "{file:?}");
        }
    }

    #[test]
    fn nobody_else_is_to_write() {
        for (role, uid, gid, mode, verdict) in [
            (Role::File, 0, 0, 0o666, Warning),
            (Role::File, 0, 0, 0o664, Fine),
            (Role::File, 0, 44, 0o664, Warning),
            (Role::File, 1000, 0, 0o644, Warning),
            (Role::Folder, 0, 0, 0o777, Warning),
            (Role::Folder, 0, 44, 0o775, Warning),
            (Role::Folder, 1000, 0, 0o755, Warning),
            // Drop-ins could be added to it all the same.
            (Role::Folder, 0, 0, 0o1777, Warning),
            (Role::Way, 0, 0, 0o1777, Fine),
            (Role::Way, 0, 0, 0o777, Warning),
            (Role::Way, 1000, 1000, 0o755, Warning),
        ] {
            let judged = judged(None, &file(role, uid, gid, mode));
            assert_eq!(judged, verdict, "{role:?} {uid}:{gid} {mode:o}");
        }
    }

    #[test]
    fn a_link_leads_through_the_folders_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (home, etc) = (root.join("home"), root.join("etc"));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&etc).unwrap();
        fs::write(home.join("real.toml"), "").unwrap();
        std::os::unix::fs::symlink("../home/real.toml", etc.join("mesh.toml")).unwrap();
        let ways = ways(&etc.join("mesh.toml"));
        assert!(ways.contains(&home) && ways.contains(&etc), "{ways:?}");
        assert!(ways.contains(&PathBuf::from("/")), "{ways:?}");
    }
}
