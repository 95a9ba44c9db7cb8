//! Programs that may meet what a header takes from a socket: zero-copy sends of io_uring.

use super::{Check, Finding, Subject, text};
use crate::model::{Header, Mesh};
use std::fs;
use std::path::Path;

#[derive(Clone, Debug)]
pub struct IoUring {
    /// Waypoints that get a header, as far as the file can be read.
    waypoints: Option<Vec<String>>,
    /// Processes that hold an io_uring, with their names.
    processes: Vec<(u32, String)>,
    /// Whether the descriptors of every process could be read.
    all: bool,
}

pub fn look(subject: &Subject) -> IoUring {
    let waypoints = subject.config.mesh.as_ref().map(waypoints);
    let mut found = IoUring {
        processes: Vec::new(),
        all: true,
        waypoints,
    };
    // On a host with many processes this takes long, for nothing.
    if found.waypoints.as_ref().is_none_or(Vec::is_empty) {
        return found;
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(number) = process.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        match holds(&process.path()) {
            Some(true) => {
                let name = text(&format!("/proc/{number}/comm")).unwrap_or_default();
                found.processes.push((number, name.trim().to_owned()));
            }
            Some(false) => {}
            // Another user's, or gone meanwhile.
            None => found.all &= !process.path().exists(),
        }
    }
    found.processes.sort_unstable();
    found
}

fn holds(process: &Path) -> Option<bool> {
    let descriptors = fs::read_dir(process.join("fd")).ok()?;
    let is_ring = |path: &Path| {
        let target = fs::read_link(path);
        target.is_ok_and(|target| target == Path::new("anon_inode:[io_uring]"))
    };
    let mut paths = descriptors.flatten().map(|descriptor| descriptor.path());
    Some(paths.any(|path| is_ring(&path)))
}

fn waypoints(mesh: &Mesh) -> Vec<String> {
    let waypoints = mesh.waypoints.iter();
    let waypoints = waypoints.filter(|(_, waypoint)| waypoint.header != Header::Nothing);
    waypoints.map(|(name, _)| name.to_string()).collect()
}

pub fn judge(found: &IoUring) -> Check {
    /// Names in a line.
    const NAMED: usize = 3;
    let named = found.processes.iter().take(NAMED);
    let named: Vec<_> = named.map(|(pid, name)| format!("{name} ({pid})")).collect();
    let named = named.join(", ");
    let more = match found.processes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match &found.waypoints {
        None => Finding::unknown("cannot tell which waypoints get a header", "see `config`"),
        Some(waypoints) if waypoints.is_empty() => Finding::fine("no waypoint gets a header"),
        Some(_) if found.processes.is_empty() && !found.all => {
            Finding::unknown("not every process can be looked at", "run this as root")
        }
        Some(_) if found.processes.is_empty() => Finding::fine("no process uses it"),
        // Few of these send without a copy, and most of those fall back by themselves.
        Some(waypoints) => Finding::fine(format!(
            "used by {named}{more}: zero-copy sends (IORING_OP_SEND_ZC) fail with EOPNOTSUPP on connections that got \
             a header ({}); `[capture] bypass` or `header = \"none\"` let them through",
            waypoints.join(", ")
        )),
    }
    .named("io_uring")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Unknown};

    fn found(waypoints: &[&str], processes: &[(u32, &str)], all: bool) -> IoUring {
        let named = |(pid, name): &(u32, &str)| (*pid, (*name).to_owned());
        IoUring {
            waypoints: Some(waypoints.iter().map(ToString::to_string).collect()),
            processes: processes.iter().map(named).collect(),
            all,
        }
    }

    #[test]
    fn programs_with_an_io_uring_are_named_where_a_waypoint_gets_a_header() {
        let four = [(7, "fio"), (8, "redis"), (9, "seastar"), (10, "tokio")];
        let check = judge(&found(&["edge"], &four, true));
        assert_eq!(check.verdict, Fine);
        let text = &check.found;
        assert!(
            text.contains("fio (7), redis (8), seastar (9) and 1 more"),
            "{text}"
        );
        assert!(
            text.contains("EOPNOTSUPP") && text.contains("edge"),
            "{text}"
        );
        let none = judge(&found(&[], &four, true));
        assert_eq!(none.found, "no waypoint gets a header");
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_said_to_be_fine() {
        assert_eq!(judge(&found(&["edge"], &[], false)).verdict, Unknown);
        assert_eq!(judge(&found(&["edge"], &[], true)).verdict, Fine);
    }
}
