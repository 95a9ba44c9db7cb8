//! Cgroups, by path or by unit.

use super::read::Wrong;
use super::suggest::quote;
use crate::model::CgroupRef;
use std::path::{Component, Path, PathBuf};

/// A path below the mount, without redundant slashes.
fn cgroup_path(text: &str) -> Result<PathBuf, Wrong> {
    let path = Path::new(text);
    let wrong = |why: &str| Wrong::new(format!("{} is not a cgroup path: {why}", quote(text)));
    if !path.is_absolute() {
        return Err(wrong("it does not begin with `/`"));
    }
    if let Ok(below) = path.strip_prefix("/sys/fs/cgroup") {
        let meant = Path::new("/").join(below);
        return Err(
            wrong("it names the mount too").help(format!("did you mean `{}`?", meant.display()))
        );
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(wrong("it has `..`"));
    }
    if text.contains('\0') {
        return Err(wrong("it has a zero byte"));
    }
    // Rebuilt, so that `/a//b/` and `/a/b` are the same.
    Ok(path.components().collect())
}

/// A unit or a path.
pub fn cgroup_ref(text: &str) -> Result<CgroupRef, Wrong> {
    const SUFFIXES: [&str; 6] = ["service", "slice", "scope", "socket", "mount", "swap"];
    if text.starts_with('/') {
        return cgroup_path(text).map(CgroupRef::Path);
    }
    let wrong = |why: &str| {
        Wrong::new(format!(
            "{} is not a unit that can be named here: {why}",
            quote(text)
        ))
    };
    if text.contains('/') {
        return Err(wrong("it has a `/`").help("a cgroup path begins with `/`".to_owned()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        return Err(wrong(&format!("{other:?} is not allowed")));
    }
    match text.rsplit_once('.') {
        Some((stem, suffix)) if !stem.is_empty() && SUFFIXES.contains(&suffix) => {
            if stem.ends_with('@') {
                return Err(wrong("it is a template")
                    .help("name an instance, like `getty@tty1.service`".to_owned()));
            }
            Ok(CgroupRef::Unit(text.to_owned()))
        }
        Some((stem, suffix))
            if ["timer", "target", "path", "device", "automount"].contains(&suffix) =>
        {
            Err(wrong(&format!("a {suffix} has no processes"))
                .help(format!("did you mean `{stem}.service`?")))
        }
        _ => Err(wrong("its type is missing").help(format!("did you mean `{text}.service`?"))),
    }
}
