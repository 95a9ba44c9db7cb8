//! The network namespaces in which connections of this host arrive.

use crate::model::Namespace;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The network namespace of this thread, which is that of the daemon.
const OWN: &str = "/proc/thread-self/ns/net";

/// The network namespaces that there are, this process's own first.
pub fn namespaces() -> Vec<Namespace> {
    namespace(Path::new(OWN)).into_iter().collect()
}

fn namespace(path: &Path) -> Option<Namespace> {
    let about = fs::metadata(path).ok()?;
    Some(Namespace {
        id: about.ino(),
        path: path.to_owned(),
    })
}
