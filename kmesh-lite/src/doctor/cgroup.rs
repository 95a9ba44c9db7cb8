//! The tree of cgroups, and those whose connections are handled.

use super::{Check, Finding, text};
use crate::api::Status;
use crate::control::ClientError;
use crate::hooks::outermost;
use crate::host::{CgroupError, Cgroups, lock_holder, mounts};
use crate::log::chain;
use crate::model::{Capture, CgroupRef, Mesh};
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
    /// Where it is; where it is not there, what it is called.
    pub path: PathBuf,
    pub is_there: bool,
    /// The process that holds its lock, as a daemon does.
    pub holder: Option<u32>,
}

/// The cgroups that the arguments name, or else the daemon, or else the file.
pub fn wanted(asked: Vec<PathBuf>, status: Option<&Status>, mesh: Option<&Mesh>) -> Vec<CgroupRef> {
    if !asked.is_empty() {
        return asked.into_iter().map(CgroupRef::Path).collect();
    }
    let datapath = status.map(|status| &status.datapath);
    let held = datapath
        .iter()
        .flat_map(|it| it.attached.iter().chain(&it.absent));
    let held: Vec<_> = held.map(|name| CgroupRef::from(name.as_str())).collect();
    match mesh {
        _ if !held.is_empty() => held,
        Some(mesh) => mesh.capture.cgroups.clone(),
        None => Capture::default().cgroups,
    }
}

pub fn look(wanted: &[CgroupRef]) -> CgroupTree {
    let tree = Cgroups::find();
    let captured = tree
        .as_ref()
        .map_or_else(|_| Vec::new(), |tree| Captured::all(tree, wanted));
    CgroupTree {
        tree,
        hybrid: text("/proc/self/mountinfo")
            .is_some_and(|table| mounts(&table, "cgroup").next().is_some()),
        captured,
    }
}

impl Captured {
    /// Those that these names mean, and the names that mean nothing now.
    fn all(tree: &Cgroups, wanted: &[CgroupRef]) -> Vec<Self> {
        let found = tree.search(&wanted.iter().cloned().collect(), |_| ());
        let there = found.values().flatten().map(|cgroup| cgroup.path.clone());
        let there = outermost(there.collect()).into_iter();
        let absent = found.iter().filter(|(_, found)| found.is_empty());
        there
            .map(|path| Self::look(tree, path))
            .chain(absent.map(|(name, _)| Self {
                path: name.to_string().into(),
                is_there: false,
                holder: None,
            }))
            .collect()
    }

    pub fn look(tree: &Cgroups, path: PathBuf) -> Self {
        let folder = tree.folder(&path);
        Self {
            is_there: folder.is_dir(),
            holder: File::open(&folder)
                .ok()
                .and_then(|folder| lock_holder(&folder)),
            path,
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
            _ if !cgroup.is_there => Finding::warning(
                format!("{path} has no cgroup now, so no connection of it is routed"),
                "start it, or mend its name in [capture] cgroups; it is attached to as soon as it is there",
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
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};
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
            is_there,
            holder,
        };
        let verdict = |cgroup| captured(&[cgroup], Runner::Process(7)).verdict;
        assert_eq!(verdict(cgroup(true, None)), Fine);
        assert_eq!(verdict(cgroup(true, Some(7))), Fine);
        assert_eq!(verdict(cgroup(false, None)), Warning);
        assert_eq!(verdict(cgroup(true, Some(8))), Problem);
        let held = [cgroup(true, Some(8))];
        assert_eq!(captured(&held, Runner::Nobody).verdict, Problem);
        assert_eq!(captured(&held, Runner::Somebody).verdict, Fine);
        let missing = captured(&[cgroup(true, None), cgroup(false, None)], Runner::Nobody);
        assert!(missing.found.contains("/web.slice"));
    }
}
