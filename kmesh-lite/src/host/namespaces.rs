//! The network namespaces in which connections of this host arrive.
//!
//! Those of programs in captured cgroups count: of processes that this one may look at, and, where the whole host is
//! captured, those that have a name. A name is how container engines and `ip netns` keep a namespace; looking at the
//! processes of others takes CAP_SYS_PTRACE.

use crate::model::Namespace;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The network namespace of this thread, which is that of the daemon.
const OWN: &str = "/proc/thread-self/ns/net";
/// Where namespaces have names.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// The network namespaces of programs in these cgroups, and first of all this process's own. The paths are below the
/// mount of cgroup v2.
pub fn namespaces(captured: &[&Path]) -> Vec<Namespace> {
    let Some(own) = namespace(Path::new(OWN), true) else {
        return Vec::new();
    };
    let mut others = BTreeMap::new();
    if captured.contains(&Path::new("/")) {
        let folders = NAMED.iter().filter_map(|folder| fs::read_dir(folder).ok());
        let files = folders.flatten().flatten();
        for found in files.filter_map(|file| namespace(&file.path(), false)) {
            others.entry(found.id).or_insert(found);
        }
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.map(|entry| entry.path()) {
        let Some(found) = namespace(&process.join("ns/net"), false) else {
            continue;
        };
        let is_new = found.id != own.id && !others.contains_key(&found.id);
        if is_new && is_in(&process, captured) {
            others.insert(found.id, found);
        }
    }
    others.remove(&own.id);
    [own].into_iter().chain(others.into_values()).collect()
}

/// Whether a process is in any of these cgroups.
fn is_in(process: &Path, captured: &[&Path]) -> bool {
    let table = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let mut lines = table.lines();
    let path = lines.find_map(|line| line.strip_prefix("0::"));
    path.is_some_and(|path| {
        let path = PathBuf::from(path);
        captured.iter().any(|above| path.starts_with(above))
    })
}

fn namespace(path: &Path, is_own: bool) -> Option<Namespace> {
    let about = fs::metadata(path).ok()?;
    Some(Namespace {
        id: about.ino(),
        path: path.to_owned(),
        is_own,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_of_this_process_is_the_first_one_and_is_there_once() {
        let found = namespaces(&[Path::new("/")]);
        let own = fs::metadata(OWN).unwrap().ino();
        assert_eq!((found[0].id, found[0].is_own), (own, true));
        assert_eq!(found.iter().filter(|it| it.id == own).count(), 1);
    }
}
