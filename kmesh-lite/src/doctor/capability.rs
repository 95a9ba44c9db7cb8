//! Capabilities of this process.

use super::{Check, Finding, text};
use nix::unistd::geteuid;

/// The user of this process.
#[derive(Clone, Debug)]
pub struct OwnUser {
    is_root: bool,
    /// The text of /proc/self/uid_map.
    uid_map: Option<String>,
}

pub fn look() -> OwnUser {
    OwnUser {
        is_root: geteuid().is_root(),
        uid_map: text("/proc/self/uid_map"),
    }
}

/// `missing`: capabilities that this process lacks.
pub fn judge(missing: &[&str], user: &OwnUser) -> Check {
    // The first user namespace maps all users onto themselves.
    let first = user
        .uid_map
        .as_deref()
        .is_none_or(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let found = format!("this process lacks {}", missing.join(", "));
    match missing {
        [] if !first => Finding::problem(
            "this process is in a user namespace, where capabilities do not count for bpf()",
            "run this outside of it; a container has to be one without a user namespace (not rootless)",
        ),
        [] => Finding::fine("this process has all that loading and attaching need"),
        _ if user.is_root => Finding::problem(
            found,
            "root as it is here cannot run the daemon: give them to the container (`--cap-add`), or look at \
             CapabilityBoundingSet= of what started this",
        ),
        _ => Finding::unknown(found, "run this as root to look at all there is"),
    }
    .named("capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown};

    #[test]
    fn root_without_capabilities_is_a_problem_and_a_user_without_is_a_user() {
        let own = |missing: &[&str], is_root, uid_map: Option<&str>| {
            let uid_map = uid_map.map(str::to_owned);
            judge(missing, &OwnUser { is_root, uid_map })
        };
        assert_eq!(own(&[], true, None).verdict, Fine);
        let all = "         0          0 4294967295\n";
        assert_eq!(own(&[], true, Some(all)).verdict, Fine);
        let some = "         0     100000      65536\n";
        assert_eq!(own(&[], true, Some(some)).verdict, Problem);
        let root = own(&["CAP_BPF", "CAP_PERFMON"], true, None);
        assert_eq!(root.verdict, Problem);
        assert!(root.found.contains("CAP_BPF, CAP_PERFMON"), "{root:?}");
        assert_eq!(own(&["CAP_BPF"], false, None).verdict, Unknown);
    }
}
