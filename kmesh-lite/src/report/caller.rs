//! Whose connect it is: whether programs run for it, and how they treat it.

use crate::api::{Failure, FailureKind, Step};
use crate::host::Lineage;
use crate::model::{Caller, CgroupRef};
use crate::tables::{Tables, Whose};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A program that connects, as the kernel sees it.
pub struct Client {
    /// The cgroup that it runs in; none if any may be meant that is captured.
    pub lineage: Option<Lineage>,
    /// The number of its user; none if any may be meant.
    pub user: Option<u32>,
    /// The number of its group; none if any may be meant.
    pub group: Option<u32>,
    /// Whether it is the daemon itself, whose connects are left alone.
    pub is_daemon: bool,
}

impl Client {
    /// An ordinary program that is captured.
    pub const ANY: Self = Self {
        lineage: None,
        user: None,
        group: None,
        is_daemon: false,
    };

    /// A program in the cgroup of this name, which was looked for.
    pub fn of(name: &CgroupRef, lineage: Option<Lineage>) -> Result<Self, Failure> {
        if lineage.is_none() {
            let error = format!("{name} has no cgroup: it is not running, or not by this name");
            return Err(Failure::new(FailureKind::NotFound, error));
        }
        Ok(Self {
            lineage,
            ..Self::ANY
        })
    }

    /// The cgroup that is attached to and captures it. An error in words if there is none.
    pub fn captured<'a>(&self, attached: &'a [PathBuf]) -> Result<&'a Path, String> {
        let Some(lineage) = &self.lineage else {
            return attached
                .first()
                .map(|path| &**path)
                .ok_or_else(|| "no cgroup is captured, so no connect is handled".to_owned());
        };
        let mut above = attached.iter().filter(|it| lineage.path.starts_with(it));
        above.next().map(|path| &**path).ok_or_else(|| {
            let path = lineage.path.display();
            format!("cgroup {path} is not captured, so its connects are not handled")
        })
    }

    /// How the programs treat it: the outermost cgroup that is special decides.
    pub fn treatment(&self, tables: &Tables) -> Caller {
        if self.is_daemon {
            return Caller::Bypass;
        }
        let ids = self.lineage.iter().flat_map(|lineage| &lineage.ids);
        let mut special = ids.filter_map(|id| tables.callers.get(id));
        special.next().copied().unwrap_or(Caller::Ordinary)
    }

    /// As the decision sees it.
    pub fn whose(&self, tables: &Tables) -> Whose {
        let lineage = self.lineage.as_ref();
        Whose {
            caller: self.treatment(tables),
            cgroup: lineage.and_then(|lineage| lineage.ids.last().copied()),
            lineage: lineage.map_or_else(Vec::new, |lineage| lineage.ids.clone()),
            user: self.user,
            group: self.group,
        }
    }

    /// The step that tells of it, if anybody in particular is meant.
    pub fn step(&self, tables: &Tables, attached: &[PathBuf]) -> Option<Step> {
        let user = self.user.map(|user| format!("user {user}"));
        let Some(lineage) = &self.lineage else {
            let fields = json!({ "user": self.user });
            return Some(super::explain::new("caller", user?, fields));
        };
        let path = lineage.path.display().to_string();
        let treatment = self.treatment(tables).as_str();
        let captured = self.captured(attached).ok();
        let text = match captured {
            Some(above) => format!(
                "cgroup {path} is captured by {}, caller: {treatment}",
                above.display()
            ),
            None => format!("cgroup {path} is not captured"),
        };
        let text = match user {
            Some(user) => format!("{text}, {user}"),
            None => text,
        };
        let mut fields =
            json!({ "cgroup": path, "captured": captured.is_some(), "treatment": treatment });
        if let Some(user) = self.user {
            fields["user"] = user.into();
        }
        Some(super::explain::new("caller", text, fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(path: &str, ids: &[u64]) -> Client {
        Client {
            lineage: Some(Lineage {
                path: path.into(),
                ids: ids.to_vec(),
            }),
            ..Client::ANY
        }
    }

    #[test]
    fn a_program_is_captured_by_a_cgroup_above_it() {
        let attached = ["/a", "/b/c"].map(PathBuf::from);
        for (path, above) in [
            ("/a", Some("/a")),
            ("/a/x/y", Some("/a")),
            ("/b/c/d", Some("/b/c")),
            ("/b", None),
            ("/ab", None),
        ] {
            let captured = client(path, &[]).captured(&attached).ok();
            assert_eq!(captured, above.map(Path::new), "{path}");
        }
        assert!(Client::ANY.captured(&attached).is_ok());
        assert!(Client::ANY.captured(&[]).is_err());
    }

    #[test]
    fn the_outermost_special_cgroup_decides() {
        let mut tables = Tables::default();
        tables.callers.insert(7, Caller::Waypoint);
        tables.callers.insert(8, Caller::Bypass);
        let treatment = |ids: &[u64]| client("/x", ids).treatment(&tables);
        assert_eq!(treatment(&[1, 2]), Caller::Ordinary);
        assert_eq!(treatment(&[1, 7, 8]), Caller::Waypoint);
        assert_eq!(treatment(&[1, 8, 7]), Caller::Bypass);
        let daemon = Client {
            is_daemon: true,
            ..client("/x", &[7])
        };
        assert_eq!(daemon.treatment(&tables), Caller::Bypass);
    }
}
