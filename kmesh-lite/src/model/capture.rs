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
    /// Every such unit with a name of this form, in which `*` stands for any characters.
    Units(String),
}

impl From<&str> for CgroupRef {
    /// The reverse of its text: a path begins with `/`, and the name of a unit does not.
    fn from(text: &str) -> Self {
        if text.starts_with('/') {
            Self::Path(text.into())
        } else if text.contains('*') {
            Self::Units(text.to_owned())
        } else {
            Self::Unit(text.to_owned())
        }
    }
}

impl CgroupRef {
    /// Whether a unit of this name is meant.
    pub fn names_unit(&self, name: &str) -> bool {
        match self {
            Self::Path(_) => false,
            Self::Unit(unit) => unit == name,
            Self::Units(form) => fits(form, name),
        }
    }
}

/// Whether a name has a form in which `*` stands for any characters.
fn fits(form: &str, name: &str) -> bool {
    let Some((start, rest)) = form.split_once('*') else {
        return form == name;
    };
    let Some(left) = name.strip_prefix(start) else {
        return false;
    };
    let mut ends = left.char_indices().map(|(at, _)| at).chain([left.len()]);
    ends.any(|at| fits(rest, &left[at..]))
}

impl fmt::Display for CgroupRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) | Self::Units(unit) => f.pad(unit),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let units = CgroupRef::from("shop-*@*.service");
        for (name, is_meant) in [
            ("shop-web@1.service", true),
            ("shop-@.service", true),
            ("shop-web.service", false),
            ("shop-web@1.slice", false),
            ("my-shop-web@1.service", false),
        ] {
            assert_eq!(units.names_unit(name), is_meant, "{name}");
        }
        assert!(CgroupRef::from("a.service").names_unit("a.service"));
        assert!(!CgroupRef::from("/a.service").names_unit("a.service"));
    }
}
