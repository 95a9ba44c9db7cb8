//! Whose connections are handled.

use std::fmt;
use std::path::PathBuf;

/// The cgroups attached to, minus bypasses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Paths below the cgroup v2 mount, each beginning with `/`.
    pub cgroups: Vec<PathBuf>,
    pub bypass: Vec<CgroupRef>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            cgroups: vec![PathBuf::from("/")],
            bypass: Vec::new(),
        }
    }
}

/// Names a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CgroupRef {
    /// A systemd unit, wherever its cgroup is at the time.
    Unit(String),
    /// A path below the cgroup v2 mount, beginning with `/`.
    Path(PathBuf),
}

impl fmt::Display for CgroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => f.pad(unit),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}
