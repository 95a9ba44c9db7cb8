//! Capabilities of this process, and what else CAP_SYS_PTRACE needs.

use super::{Check, Finding};

/// `missing`: of this process, which is root's or not. `uid_map` is the text of /proc/self/uid_map.
pub fn own(missing: &[&str], root: bool, uid_map: Option<&str>) -> Check {
    // The first user namespace maps all users onto themselves.
    let first = uid_map.is_none_or(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let found = format!("this process lacks {}", missing.join(", "));
    match missing {
        [] if !first => Finding::problem(
            "this process is in a user namespace, where capabilities do not count for bpf()",
            "run this outside of it; a container has to be one without a user namespace (not rootless)",
        ),
        [] => Finding::fine("this process has all that loading and attaching need"),
        _ if root => Finding::problem(
            found,
            "root as it is here cannot run the daemon: give them to the container (`--cap-add`), or look at \
             CapabilityBoundingSet= of what started this",
        ),
        _ => Finding::unknown(found, "run this as root to look at all there is"),
    }
    .named("capabilities")
}

/// Whether headers can be sent for clients that wait for a server to speak. `waypoints` names those
/// with `server_first`, as far as the file can be read; `missing`: whether whoever runs the daemon lacks CAP_SYS_PTRACE; `yama` is the
/// text of /proc/sys/kernel/yama/ptrace_scope.
pub fn server_first(
    waypoints: Option<&[String]>,
    missing: Option<bool>,
    yama: Option<&str>,
) -> Check {
    let Some(waypoints) = waypoints else {
        return Finding::unknown("cannot tell which waypoints have it", "see `config`")
            .named("server_first");
    };
    let names = waypoints.join(", ");
    let never = yama.is_some_and(|scope| scope.trim() == "3");
    match missing {
        _ if waypoints.is_empty() => Finding::fine("no waypoint has `server_first`"),
        _ if never => Finding::problem(
            format!(
                "kernel.yama.ptrace_scope is 3: the daemon cannot send the header of waypoints with \
                 `server_first` ({names})"
            ),
            "set kernel.yama.ptrace_scope to 2 or less in /etc/sysctl.d, and reboot: it cannot be lowered before",
        ),
        Some(true) => Finding::problem(
            format!("the daemon lacks CAP_SYS_PTRACE, which waypoints with `server_first` need ({names})"),
            "`systemctl edit kmesh-lite`: [Service] AmbientCapabilities=CAP_SYS_PTRACE and \
             CapabilityBoundingSet=CAP_SYS_PTRACE add it; then restart",
        ),
        Some(false) => Finding::fine(format!("CAP_SYS_PTRACE is there for {names}")),
        None => Finding::unknown(
            format!("whether the daemon has CAP_SYS_PTRACE for {names}"),
            "run this as root",
        ),
    }
    .named("server_first")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown};

    #[test]
    fn root_without_capabilities_is_a_problem_and_a_user_without_is_a_user() {
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

    #[test]
    fn ptrace_is_needed_where_the_server_speaks_first() {
        let mail = ["mail".to_owned()];
        let verdict =
            |names: &[String], missing, yama| server_first(Some(names), missing, yama).verdict;
        assert_eq!(verdict(&[], Some(true), Some("3\n")), Fine);
        assert_eq!(verdict(&mail, Some(false), Some("1\n")), Fine);
        assert_eq!(verdict(&mail, Some(false), None), Fine);
        assert_eq!(verdict(&mail, Some(false), Some("3\n")), Problem);
        assert_eq!(verdict(&mail, Some(true), Some("1\n")), Problem);
        assert_eq!(verdict(&mail, None, None), Unknown);
        assert_eq!(server_first(None, Some(false), None).verdict, Unknown);
    }
}
