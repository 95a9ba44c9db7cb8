//! Whose connections are handled.

use std::fmt;
use std::path::PathBuf;

/// The cgroups attached to, minus bypasses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Those that do not exist are attached to as soon as they do.
    pub cgroups: Vec<CgroupRef>,
    pub bypass: Vec<CgroupRef>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            cgroups: vec![CgroupRef::Path("/".into())],
            bypass: Vec::new(),
        }
    }
}

/// Names a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CgroupRef {
    /// A path below the cgroup v2 mount, beginning with `/`.
    Path(PathBuf),
    /// A unit of the host's own systemd, wherever its cgroup is at the time.
    Unit(String),
}

impl From<&str> for CgroupRef {
    /// The reverse of its text: a path begins with `/`, and the name of a unit does not.
    fn from(text: &str) -> Self {
        if text.starts_with('/') {
            Self::Path(text.into())
        } else {
            Self::Unit(text.to_owned())
        }
    }
}

impl fmt::Display for CgroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => f.pad(unit),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}
