//! Checks of a host: whatever stands in the way of the daemon, and the remedy.
//!
//! A topic is a file: its `look` asks the host and changes nothing, its `judge` makes checks of the
//! answer and asks nothing, so that every verdict can be had without the host that it is about.
//! [`Subject`] holds the answers that several topics need.

mod agent;
mod capability;
mod cgroup;
mod config;
mod daemon;
mod dns;
mod fd_store;
mod hooks;
mod io_uring;
mod kernel;
mod links;
mod names;
mod on_remove;
mod orders;
mod permissions;
mod programs;
mod security;
mod server_first;
mod socket;
mod unit;

use crate::api::Status;
use crate::control::ClientError;
use crate::daemon::SOCKET;
use crate::host::{self, NEEDED};
use cgroup::{CgroupTree, Runner};
use config::Configuration;
use serde::Serialize;
use socket::ControlSocket;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};
use unit::{NoUnit, UnitProperties};

pub use unit::service_process;

/// The daemon that the checks are about, and the host that it runs on, or would.
pub struct Subject {
    socket: ControlSocket,
    /// The daemon's answer on that socket.
    status: Result<Status, ClientError>,
    /// The daemon's process, as far as it is known.
    process: Option<u32>,
    unit: Result<UnitProperties, NoUnit>,
    config: Configuration,
    /// Capabilities that this process lacks.
    missing: Vec<&'static str>,
    cgroups: CgroupTree,
}

impl Subject {
    /// Paths are absolute. Without `config` the daemon's own file counts, and `usual_config` where no
    /// daemon names one; `cgroups` take the place of those that the daemon or the file names.
    pub fn gather(
        socket: PathBuf,
        config: Option<PathBuf>,
        usual_config: PathBuf,
        cgroups: Vec<PathBuf>,
    ) -> Self {
        let status = daemon::look(&socket);
        let socket = socket::look(socket);
        let answer = status.as_ref().ok();
        let pid = answer.and_then(|status| Some(status.daemon.as_ref()?.pid));
        let process = pid.or(socket.holder);
        let unit = unit::look(process, socket.path == Path::new(SOCKET));
        // Its files may be gone, and systemd knows it all the same.
        let of_unit = || unit.as_ref().ok().and_then(unit::process);
        let process = process.or_else(of_unit);
        let served = answer.and_then(|status| Some(status.config.as_ref()?.path.clone()));
        let config = config::look(config.or(served).unwrap_or(usual_config));
        Self {
            process,
            unit,
            missing: host::missing(None, &NEEDED),
            cgroups: cgroup::look(&cgroup::wanted(cgroups, answer, config.mesh.as_ref())),
            socket,
            status,
            config,
        }
    }

    /// Every check, from the kernel upwards.
    pub fn examine(&self) -> Report {
        let programs = programs::look(&self.missing);
        let instance = crate::kernel::instance(&self.socket.path);
        let mut checks = Vec::new();
        checks.extend(kernel::judge(&kernel::look(&self.unit)));
        checks.extend(security::judge(&security::look(), &programs));
        checks.push(capability::judge(&self.missing, &capability::look()));
        checks.push(programs::judge(&programs));
        let runner = Runner::of(self.process, &self.status);
        checks.extend(cgroup::judge(&self.cgroups, runner));
        checks.push(hooks::judge(&hooks::look(&self.cgroups, instance)));
        checks.push(config::judge(&self.config));
        checks.push(permissions::judge(&permissions::look(self)));
        checks.push(server_first::judge(&server_first::look(self)));
        checks.push(on_remove::judge(&on_remove::look(self)));
        checks.push(io_uring::judge(&io_uring::look(self)));
        checks.extend(unit::judge(&self.unit));
        checks.push(fd_store::judge(&self.unit, fd_store::look(&self.status)));
        checks.push(socket::judge(&self.socket, self.process, &self.status));
        checks.push(daemon::judge(self.process, &self.status));
        checks.extend(agent::judge(&self.status));
        checks.extend(orders::judge(&self.status));
        checks.extend(names::judge(&self.status));
        checks.extend(dns::judge(&self.status, &dns::look()));
        checks.push(links::judge(
            &links::look(&self.cgroups, instance),
            &self.status,
        ));
        Report::new(checks)
    }
}

/// The text of a file, if there is one for this process.
fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The system call's error at the end of the chain.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let own = error.downcast_ref::<io::Error>();
    own.and_then(io::Error::raw_os_error)
        .or_else(|| error.source().and_then(errno))
}

/// The order is the order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fine,
    /// The answer is out of reach, mostly because this user may not look.
    Unknown,
    /// The thing works, and not as it should.
    Warning,
    /// The thing does not work, or will not after a restart.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Programs go by it, so it never changes.
    pub name: &'static str,
    pub verdict: Verdict,
    /// One line or several.
    pub found: String,
    /// The remedy; None if all is fine.
    pub todo: Option<String>,
}

/// One part of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub found: String,
    pub todo: Option<String>,
}

impl Finding {
    pub fn fine(found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fine,
            found: found.into(),
            todo: None,
        }
    }

    pub fn unknown(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::other(Verdict::Unknown, found, todo)
    }

    pub fn warning(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::other(Verdict::Warning, found, todo)
    }

    pub fn problem(found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::other(Verdict::Problem, found, todo)
    }

    fn other(verdict: Verdict, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Self {
            verdict,
            found: found.into(),
            todo: Some(todo.into()),
        }
    }

    /// The check that has no other part.
    pub fn named(self, name: &'static str) -> Check {
        Check {
            name,
            verdict: self.verdict,
            found: self.found,
            todo: self.todo,
        }
    }
}

impl Check {
    /// The findings that weigh most speak first; a fine one speaks only if all are fine.
    pub fn of(name: &'static str, mut findings: Vec<Finding>) -> Self {
        let verdict = findings
            .iter()
            .map(|finding| finding.verdict)
            .max()
            .unwrap_or(Verdict::Fine);
        if verdict > Verdict::Fine {
            findings.retain(|finding| finding.verdict > Verdict::Fine);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        Self {
            name,
            verdict,
            found: lines(findings.iter().map(|finding| finding.found.as_str())),
            todo: Some(lines(
                findings
                    .iter()
                    .filter_map(|finding| finding.todo.as_deref()),
            ))
            .filter(|todo| !todo.is_empty()),
        }
    }
}

/// Each text once, one below the other.
fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for text in texts {
        if !lines.contains(&text) {
            lines.push(text);
        }
    }
    lines.join("\n")
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of all checks; an unknown one does not count.
    pub verdict: Verdict,
    /// From the kernel upwards: a fault further down may be the cause of all others.
    pub checks: Vec<Check>,
}

impl Report {
    pub fn new(checks: Vec<Check>) -> Self {
        let known = checks.iter().map(|check| check.verdict);
        let known = known.filter(|verdict| *verdict != Verdict::Unknown);
        Self {
            verdict: known.max().unwrap_or(Verdict::Fine),
            checks,
        }
    }

    /// "fine", or "2 problems, 1 warning".
    pub fn headline(&self) -> String {
        let count = |verdict| {
            let all = self.checks.iter().filter(|check| check.verdict == verdict);
            all.count()
        };
        let mut parts = Vec::new();
        if self.verdict == Verdict::Fine {
            parts.push("fine".to_owned());
        }
        for (verdict, one) in [(Verdict::Problem, "problem"), (Verdict::Warning, "warning")] {
            match count(verdict) {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                n => parts.push(format!("{n} {one}s")),
            }
        }
        match count(Verdict::Unknown) {
            0 => {}
            n => parts.push(format!("{n} not known")),
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict) -> Check {
        Finding::other(verdict, "something", "do it").named("thing")
    }

    #[test]
    fn the_verdict_comes_first_and_counts() {
        use Verdict::{Fine, Problem, Unknown, Warning};
        for (verdicts, worst, headline) in [
            (vec![Fine, Fine], Fine, "fine"),
            (vec![Fine, Unknown], Fine, "fine, 1 not known"),
            (vec![Warning, Fine], Warning, "1 warning"),
            (
                vec![Warning, Problem, Unknown, Problem],
                Problem,
                "2 problems, 1 warning, 1 not known",
            ),
        ] {
            let report = Report::new(verdicts.into_iter().map(check).collect());
            assert_eq!(report.verdict, worst);
            assert_eq!(report.headline(), headline);
        }
    }

    #[test]
    fn of_several_findings_the_worst_leads() {
        let all = Check::of(
            "thing",
            vec![
                Finding::fine("one is fine"),
                Finding::warning("two is odd", "look"),
                Finding::problem("three is broken", "mend it"),
                Finding::problem("four is broken", "mend it"),
            ],
        );
        assert_eq!(all.verdict, Verdict::Problem);
        assert_eq!(all.found, "three is broken\nfour is broken\ntwo is odd");
        assert_eq!(all.todo.as_deref(), Some("mend it\nlook"));
        let fine = Check::of("thing", vec![Finding::fine("a"), Finding::fine("b")]);
        assert_eq!((fine.found.as_str(), fine.todo), ("a\nb", None));
    }

    #[test]
    fn the_json_has_a_stable_shape() {
        let report = Report::new(vec![
            Finding::fine("6.1.0").named("kernel"),
            Finding::unknown("not root", "be root").named("links"),
        ]);
        assert_eq!(
            serde_json::to_value(report).unwrap(),
            serde_json::json!({
                "verdict": "fine",
                "checks": [
                    {"name": "kernel", "verdict": "fine", "found": "6.1.0", "todo": null},
                    {"name": "links", "verdict": "unknown", "found": "not root", "todo": "be root"},
                ],
            })
        );
    }
}
