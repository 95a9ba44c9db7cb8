//! The tree of cgroups, and those whose connections are handled.

use super::{Check, Finding};
use std::path::{Path, PathBuf};

/// Where version 2 is mounted.
#[derive(Clone, Debug)]
pub enum Mount<'a> {
    At(&'a Path),
    Nowhere,
    /// Why it cannot be told.
    Unseen(String),
}

/// `hybrid`: whether version 1 is mounted too.
pub fn mount(mount: &Mount<'_>, hybrid: bool) -> Check {
    match mount {
        Mount::At(at) => Finding::fine(format!(
            "version 2 at {}{}",
            at.display(),
            if hybrid { ", beside version 1" } else { "" }
        )),
        Mount::Unseen(why) => Finding::unknown(why, "mount /proc"),
        Mount::Nowhere => Finding::problem(
            "version 2 is not mounted",
            "boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ),
    }
    .named("cgroup_mount")
}

/// A cgroup that is, or would be, attached to.
#[derive(Clone, Debug)]
pub struct Captured {
    pub path: PathBuf,
    /// Where it was looked for.
    pub at: PathBuf,
    pub there: bool,
    /// The process that holds its lock.
    pub holder: Option<u32>,
}

/// The daemon that this is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    Nobody,
    Process(u32),
    /// There is one, which this user may not ask who it is.
    Somebody,
}

pub fn captured(captured: &[Captured], runner: Runner) -> Check {
    let finding = |cgroup: &Captured| {
        let path = cgroup.path.display();
        match cgroup.holder {
            _ if !cgroup.there => Finding::problem(
                format!(
                    "there is no cgroup {path} (looked at {})",
                    cgroup.at.display()
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

    #[test]
    fn version_2_must_be_mounted_wherever_it_is() {
        let hybrid = mount(&Mount::At(Path::new("/sys/fs/cgroup/unified")), true);
        assert_eq!(hybrid.verdict, Fine);
        assert!(hybrid.found.ends_with("beside version 1"), "{hybrid:?}");
        assert_eq!(mount(&Mount::Nowhere, true).verdict, Problem);
        let unseen = Mount::Unseen("no /proc".to_owned());
        assert_eq!(mount(&unseen, true).verdict, Unknown);
        assert_eq!(captured(&[], Runner::Nobody).verdict, Unknown);
    }

    #[test]
    fn captured_cgroups_are_there_and_nobody_elses() {
        let cgroup = |there, holder| Captured {
            path: "/web.slice".into(),
            at: "/sys/fs/cgroup/web.slice".into(),
            there,
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
