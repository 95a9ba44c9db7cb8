//! The tree of cgroups, and those whose connections are handled.

use super::{Check, Finding, text};
use crate::api::Status;
use crate::control::ClientError;
use crate::hooks::outermost;
use crate::host::{CgroupError, Cgroups, lock_holder, mounts};
use crate::log::chain;
use crate::model::{Capture, Mesh};
use std::fs::File;
use std::path::PathBuf;

pub struct CgroupTree {
    pub tree: Result<Cgroups, CgroupError>,
    /// Whether version 1 is mounted too.
    hybrid: bool,
    /// Cgroups that are, or would be, attached to; none without a tree.
    pub captured: Vec<Captured>,
}

#[derive(Clone, Debug)]
pub struct Captured {
    pub path: PathBuf,
    /// The folder of it, whether or not it is there.
    folder: PathBuf,
    pub is_there: bool,
    /// The process that holds its lock, as a daemon does.
    pub holder: Option<u32>,
}

/// The cgroups that the arguments name, or else the daemon, or else the file.
pub fn wanted(asked: Vec<PathBuf>, status: Option<&Status>, mesh: Option<&Mesh>) -> Vec<PathBuf> {
    let attached = status.map_or(&[][..], |status| &status.datapath.attached);
    match mesh {
        _ if !asked.is_empty() => asked,
        _ if !attached.is_empty() => attached.iter().map(PathBuf::from).collect(),
        Some(mesh) => mesh.capture.cgroups.clone(),
        None => Capture::default().cgroups,
    }
}

pub fn look(wanted: &[PathBuf]) -> CgroupTree {
    let tree = Cgroups::find();
    let captured = tree.as_ref().map_or_else(
        |_| Vec::new(),
        |tree| {
            let wanted = wanted.iter().map(|path| tree.path(path));
            let captured = outermost(wanted.collect()).into_iter();
            captured.map(|path| Captured::look(tree, path)).collect()
        },
    );
    CgroupTree {
        tree,
        hybrid: text("/proc/self/mountinfo")
            .is_some_and(|table| mounts(&table, "cgroup").next().is_some()),
        captured,
    }
}

impl Captured {
    pub fn look(tree: &Cgroups, path: PathBuf) -> Self {
        let folder = tree.folder(&path);
        Self {
            is_there: folder.is_dir(),
            holder: File::open(&folder)
                .ok()
                .and_then(|folder| lock_holder(&folder)),
            path,
            folder,
        }
    }
}

/// The daemon that the checks are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    Nobody,
    Process(u32),
    /// There is a daemon, and this user may not ask which process it is.
    Somebody,
}

impl Runner {
    pub fn of(process: Option<u32>, status: &Result<Status, ClientError>) -> Self {
        match (process, status) {
            (Some(process), _) => Self::Process(process),
            (None, Err(ClientError::NotRunning(_))) => Self::Nobody,
            (None, _) => Self::Somebody,
        }
    }
}

pub fn judge(cgroups: &CgroupTree, runner: Runner) -> [Check; 2] {
    [
        mount(&cgroups.tree, cgroups.hybrid),
        captured(&cgroups.captured, runner),
    ]
}

fn mount(tree: &Result<Cgroups, CgroupError>, hybrid: bool) -> Check {
    match tree {
        Ok(tree) => Finding::fine(format!(
            "version 2 at {}{}",
            tree.mount().display(),
            if hybrid { ", beside version 1" } else { "" }
        )),
        Err(CgroupError::NotMounted) => Finding::problem(
            "version 2 is not mounted",
            "boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ),
        Err(error) => Finding::unknown(chain(error), "mount /proc"),
    }
    .named("cgroup_mount")
}

fn captured(captured: &[Captured], runner: Runner) -> Check {
    let finding = |cgroup: &Captured| {
        let path = cgroup.path.display();
        match cgroup.holder {
            _ if !cgroup.is_there => Finding::problem(
                format!(
                    "there is no cgroup {path} (looked at {})",
                    cgroup.folder.display()
                ),
                "a reload fails until it is there: start what makes it, or take it out of [capture] cgroups",
            ),
            Some(holder) if runner != Runner::Somebody && runner != Runner::Process(holder) => {
                Finding::problem(
                    format!("cgroup {path} is handled by another kmesh-lite, process {holder}"),
                    "stop that one, or give each its own [capture] cgroups",
                )
            }
            _ => Finding::fine(path.to_string()),
        }
    };
    if captured.is_empty() {
        return Finding::unknown("cannot look for them", "see `cgroup_mount`").named("cgroups");
    }
    Check::of("cgroups", captured.iter().map(finding).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown};
    use std::path::Path;

    #[test]
    fn version_2_must_be_mounted_wherever_it_is() {
        let unified = Cgroups::at(Path::new("/sys/fs/cgroup/unified"));
        let hybrid = mount(&Ok(unified), true);
        assert_eq!(hybrid.verdict, Fine);
        assert!(hybrid.found.ends_with("beside version 1"), "{hybrid:?}");
        let none = Err(CgroupError::NotMounted);
        assert_eq!(mount(&none, true).verdict, Problem);
        let unseen = Err(CgroupError::Read {
            path: "/proc/self/mountinfo".into(),
            source: std::io::ErrorKind::NotFound.into(),
        });
        assert_eq!(mount(&unseen, true).verdict, Unknown);
        assert_eq!(captured(&[], Runner::Nobody).verdict, Unknown);
    }

    #[test]
    fn captured_cgroups_are_there_and_nobody_elses() {
        let cgroup = |is_there, holder| Captured {
            path: "/web.slice".into(),
            folder: "/sys/fs/cgroup/web.slice".into(),
            is_there,
            holder,
        };
        let verdict = |cgroup| captured(&[cgroup], Runner::Process(7)).verdict;
        assert_eq!(verdict(cgroup(true, None)), Fine);
        assert_eq!(verdict(cgroup(true, Some(7))), Fine);
        assert_eq!(verdict(cgroup(false, None)), Problem);
        assert_eq!(verdict(cgroup(true, Some(8))), Problem);
        let held = [cgroup(true, Some(8))];
        assert_eq!(captured(&held, Runner::Nobody).verdict, Problem);
        assert_eq!(captured(&held, Runner::Somebody).verdict, Fine);
        let missing = captured(&[cgroup(true, None), cgroup(false, None)], Runner::Nobody);
        assert!(missing.found.contains("/sys/fs/cgroup/web.slice"));
    }
}
