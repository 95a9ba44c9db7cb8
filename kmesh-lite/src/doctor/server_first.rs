//! Whether the header can be sent for clients that wait for a server to speak.

use super::{Check, Finding, Subject, text};
use crate::host::{FOR_SERVER_FIRST, missing};
use crate::model::{Header, Mesh, Speaker};
use nix::unistd::geteuid;

#[derive(Clone, Debug)]
pub struct ServerFirst {
    /// Waypoints with `server_first`, as far as the file can be read.
    waypoints: Option<Vec<String>>,
    /// Whether the daemon that runs, or the one that would, lacks CAP_SYS_PTRACE.
    lacks_ptrace: Option<bool>,
    /// The text of /proc/sys/kernel/yama/ptrace_scope.
    yama: Option<String>,
}

pub fn look(subject: &Subject) -> ServerFirst {
    ServerFirst {
        waypoints: subject.config.mesh.as_ref().map(waypoints),
        lacks_ptrace: lacks_ptrace(subject),
        yama: text("/proc/sys/kernel/yama/ptrace_scope"),
    }
}

/// Whether the daemon that runs, or the one that would, lacks CAP_SYS_PTRACE.
pub fn lacks_ptrace(subject: &Subject) -> Option<bool> {
    let wanted = [FOR_SERVER_FIRST];
    match (subject.process, &subject.unit) {
        (Some(process), _) => Some(!missing(Some(process), &wanted).is_empty()),
        (None, Ok(unit)) => Some(!unit.missing(&wanted).is_empty()),
        (None, Err(_)) if geteuid().is_root() => Some(!missing(None, &wanted).is_empty()),
        (None, Err(_)) => None,
    }
}

fn waypoints(mesh: &Mesh) -> Vec<String> {
    let waypoints = mesh.waypoints.iter().filter(|(_, waypoint)| {
        waypoint.speaker == Speaker::Server && waypoint.header != Header::Nothing
    });
    waypoints.map(|(name, _)| name.to_string()).collect()
}

pub fn judge(found: &ServerFirst) -> Check {
    let Some(waypoints) = &found.waypoints else {
        return Finding::unknown("cannot tell which waypoints have it", "see `config`")
            .named("server_first");
    };
    let names = waypoints.join(", ");
    let never = found.yama.as_deref().map(str::trim) == Some("3");
    match found.lacks_ptrace {
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
            "copy examples-config/systemd/server-first.conf of the documentation to \
             /etc/systemd/system/kmesh-lite.service.d/: it adds AmbientCapabilities=CAP_SYS_PTRACE and what else is \
             needed; then `systemctl daemon-reload` and restart",
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
    fn ptrace_is_needed_where_the_server_speaks_first() {
        let found = |waypoints: Option<&[&str]>, lacks_ptrace, yama: Option<&str>| {
            let found = ServerFirst {
                waypoints: waypoints.map(|names| names.iter().map(ToString::to_string).collect()),
                lacks_ptrace,
                yama: yama.map(str::to_owned),
            };
            judge(&found).verdict
        };
        let verdict = |names: &[&str], lacks, yama| found(Some(names), lacks, yama);
        let mail = ["mail"];
        assert_eq!(verdict(&[], Some(true), Some("3\n")), Fine);
        assert_eq!(verdict(&mail, Some(false), Some("1\n")), Fine);
        assert_eq!(verdict(&mail, Some(false), None), Fine);
        assert_eq!(verdict(&mail, Some(false), Some("3\n")), Problem);
        assert_eq!(verdict(&mail, Some(true), Some("1\n")), Problem);
        assert_eq!(verdict(&mail, None, None), Unknown);
        assert_eq!(found(None, Some(false), None), Unknown);
    }
}
