//! The service of systemd: its state and its capabilities.

use super::{Check, Finding};
use crate::host::NEEDED;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The unit of the packages.
const UNIT: &str = "kmesh-lite.service";

/// systemd answers at once, unless it is in trouble itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asked for with `systemctl show`.
const PROPERTIES: &[&str] = &[
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "NRestarts",
    "WatchdogUSec",
    "User",
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "PrivateUsers",
    "SystemCallFilter",
    "LimitMEMLOCK",
    "NFileDescriptorStore",
    "FileDescriptorStoreMax",
    "FileDescriptorStorePreserve",
];

/// The answer of systemctl, by property.
#[derive(Clone, Debug, Default)]
pub struct UnitProperties(BTreeMap<String, String>);

/// Why no unit speaks for the daemon.
#[derive(Debug, thiserror::Error)]
pub enum NoUnit {
    #[error("systemd is not installed")]
    NoSystemd,
    #[error("cannot run systemctl: {0}")]
    Run(io::Error),
    #[error("systemctl did not answer in time")]
    Silent,
    #[error("systemctl: {0}")]
    Refused(String),
    #[error("systemd knows no {UNIT}")]
    NotInstalled,
    #[error("process {0} is not the one of {UNIT}")]
    OtherProcess(u32),
    #[error("{UNIT} is not about this socket")]
    OtherSocket,
}

/// `process` is the daemon that the checks are about, as far as it is known; without one the unit
/// speaks for the usual socket only.
pub fn look(process: Option<u32>, usual: bool) -> Result<UnitProperties, NoUnit> {
    let unit = UnitProperties::parse(&ask()?);
    match process {
        _ if unit.get("LoadState") != "loaded" => Err(NoUnit::NotInstalled),
        Some(process) if unit.number("MainPID") != Some(process.into()) => {
            Err(NoUnit::OtherProcess(process))
        }
        None if !usual => Err(NoUnit::OtherSocket),
        _ => Ok(unit),
    }
}

/// The process of the service, if it runs.
pub fn process(unit: &UnitProperties) -> Option<u32> {
    let pid = u32::try_from(unit.number("MainPID")?).ok()?;
    (pid != 0).then_some(pid)
}

/// The process of the service on this host, as systemd knows it.
pub fn service_process() -> Option<u32> {
    process(&look(None, true).ok()?)
}

fn ask() -> Result<String, NoUnit> {
    let mut command = Command::new("systemctl");
    command
        .args(["show", UNIT, "--no-pager"])
        .arg(format!("--property={}", PROPERTIES.join(",")));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NoUnit::NoSystemd,
        _ => NoUnit::Run(error),
    })?;
    let Some((answer, complaint)) = read(&mut child) else {
        // It is ours, and nobody waits for it any more.
        let _ = child.kill();
        let _ = child.wait();
        return Err(NoUnit::Silent);
    };
    match child.wait() {
        Ok(status) if status.success() => Ok(answer),
        _ => {
            let first = complaint.lines().next().unwrap_or("no reason given");
            Err(NoUnit::Refused(first.to_owned()))
        }
    }
}

/// Its stdout and stderr; None if they take too long.
fn read(child: &mut Child) -> Option<(String, String)> {
    let (mut stdout, mut stderr) = (child.stdout.take()?, child.stderr.take()?);
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        let (mut text, mut complaint) = (String::new(), String::new());
        // A pipe's worth of complaints waits while the answer is read, and systemctl has less to say.
        let _ = stdout.read_to_string(&mut text);
        let _ = stderr.read_to_string(&mut complaint);
        let _ = sender.send((text, complaint));
    });
    received.recv_timeout(PATIENCE).ok()
}

impl UnitProperties {
    /// Lines such as `NRestarts=0`.
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    /// The user that the service runs as.
    pub fn user(&self) -> &str {
        match self.get("User") {
            "" => "root",
            user => user,
        }
    }

    /// Capabilities among `needed` that the service will lack.
    pub fn missing<'a>(&self, needed: &[&'a str]) -> Vec<&'a str> {
        let list = match self.user() {
            "root" | "0" => "CapabilityBoundingSet",
            _ => "AmbientCapabilities",
        };
        let has = |name: &str, list: &str| {
            let mut all = self.get(list).split_whitespace();
            all.any(|word| word.eq_ignore_ascii_case(name))
        };
        // No ambient capability brings back one that the bounding set lacks.
        let lacks = |name: &&&str| !has(name, list) || !has(name, "CapabilityBoundingSet");
        needed.iter().filter(lacks).copied().collect()
    }

    /// None is no limit.
    pub fn memlock(&self) -> Option<u64> {
        self.number("LimitMEMLOCK")
            .filter(|limit| *limit != u64::MAX)
    }

    /// Whether its filter lets bpf() through.
    fn allows_bpf(&self) -> bool {
        let filter = self.get("SystemCallFilter");
        let (denies, list) = match filter.strip_prefix('~') {
            Some(list) => (true, list),
            None => (false, filter),
        };
        let named = list
            .split_whitespace()
            .any(|call| call.split(':').next() == Some("bpf"));
        filter.is_empty() || named != denies
    }
}

pub fn judge(unit: &Result<UnitProperties, NoUnit>) -> [Check; 2] {
    [state(unit), capabilities(unit, &NEEDED)]
}

fn state(unit: &Result<UnitProperties, NoUnit>) -> Check {
    let unit = match unit {
        Ok(unit) => unit,
        Err(error) => {
            return Finding::unknown(
                error.to_string(),
                "nothing, if this is no service of systemd; but then a crash interrupts routing",
            )
            .named("unit");
        }
    };
    let mut findings = Vec::new();
    let state = format!("{} ({})", unit.get("ActiveState"), unit.get("SubState"));
    let restarts = unit.number("NRestarts").unwrap_or(0);
    let watchdog = unit.get("WatchdogUSec");
    findings.push(match unit.get("ActiveState") {
        "failed" => Finding::problem(
            format!("systemd has given up on it: {}", unit.get("Result")),
            "`journalctl -u kmesh-lite -n 50` says why; then `systemctl restart kmesh-lite`",
        ),
        "activating" if restarts > 0 => Finding::problem(
            format!("{state}, restarted {}", times(restarts)),
            "it does not stay up: `journalctl -u kmesh-lite -n 50` says why",
        ),
        _ if restarts > 0 => Finding::warning(
            format!(
                "{state}, restarted {} since it was started by hand",
                times(restarts)
            ),
            "`journalctl -u kmesh-lite` says why; `systemctl reset-failed kmesh-lite` counts anew",
        ),
        _ => Finding::fine(state),
    });
    if matches!(watchdog, "" | "0" | "infinity") {
        findings.push(Finding::warning(
            "no watchdog: a daemon that hangs stays",
            "`systemctl edit kmesh-lite`: [Service] WatchdogSec=60",
        ));
    } else {
        findings.push(Finding::fine(format!("watchdog {watchdog}")));
    }
    if !matches!(unit.get("PrivateUsers"), "" | "no") {
        findings.push(Finding::problem(
            "PrivateUsers= keeps it from using bpf()",
            "`systemctl edit kmesh-lite`: [Service] PrivateUsers=no",
        ));
    }
    if !unit.allows_bpf() {
        findings.push(Finding::problem(
            "SystemCallFilter= keeps it from using bpf()",
            "`systemctl edit kmesh-lite`: [Service] SystemCallFilter=bpf, which has to come last",
        ));
    }
    Check::of("unit", findings)
}

fn capabilities(unit: &Result<UnitProperties, NoUnit>, needed: &[&str]) -> Check {
    let Ok(unit) = unit else {
        return unknown("unit_capabilities");
    };
    let user = unit.user();
    match unit.missing(needed).as_slice() {
        [] => Finding::fine(format!("{} as {user}", needed.join(", "))),
        missing => {
            let (found, missing) = (missing.join(", "), missing.join(" "));
            Finding::problem(
                format!("as {user} it lacks {found}"),
                format!(
                    "`systemctl edit kmesh-lite`: [Service] AmbientCapabilities={missing} and \
                     CapabilityBoundingSet={missing} add them; then restart"
                ),
            )
        }
    }
    .named("unit_capabilities")
}

/// A check of a unit that is not there.
pub fn unknown(name: &'static str) -> Check {
    Finding::unknown("systemd does not say", "see `unit`").named(name)
}

fn times(number: u64) -> String {
    match number {
        1 => "once".to_owned(),
        several => format!("{several} times"),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    /// As systemd 252 answers for a service that is well, with changes.
    pub fn unit(changes: &str) -> Result<UnitProperties, NoUnit> {
        let usual = "\
            LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=7\n\
            NRestarts=0\nWatchdogUSec=1min\nUser=kmesh\n\
            AmbientCapabilities=cap_net_admin cap_perfmon cap_bpf\n\
            CapabilityBoundingSet=cap_net_admin cap_perfmon cap_bpf\n\
            PrivateUsers=no\nSystemCallFilter=accept bpf close\nLimitMEMLOCK=infinity\n\
            NFileDescriptorStore=20\nFileDescriptorStoreMax=512\n";
        Ok(UnitProperties::parse(&format!("{usual}{changes}")))
    }

    #[test]
    fn a_service_is_well_or_systemd_knows_better() {
        for (changes, verdict) in [
            ("", Fine),
            ("ActiveState=inactive\nSubState=dead", Fine),
            ("ActiveState=failed\nResult=exit-code", Problem),
            ("ActiveState=activating\nNRestarts=3", Problem),
            ("NRestarts=3", Warning),
            ("WatchdogUSec=0", Warning),
            ("PrivateUsers=yes", Problem),
            ("SystemCallFilter=accept close", Problem),
            ("SystemCallFilter=~bpf reboot", Problem),
            ("SystemCallFilter=~reboot", Fine),
            ("SystemCallFilter=", Fine),
        ] {
            let check = state(&unit(changes));
            assert_eq!(check.verdict, verdict, "{changes} {check:?}");
        }
        assert_eq!(state(&Err(NoUnit::NoSystemd)).verdict, Unknown);
    }

    #[test]
    fn capabilities_come_from_where_the_user_has_them() {
        for (changes, verdict) in [
            ("", Fine),
            ("AmbientCapabilities=cap_bpf cap_net_admin", Problem),
            ("CapabilityBoundingSet=cap_bpf cap_net_admin", Problem),
            ("User=\nAmbientCapabilities=", Fine),
            (
                "User=root\nCapabilityBoundingSet=cap_bpf cap_net_admin",
                Problem,
            ),
        ] {
            let check = capabilities(&unit(changes), &NEEDED);
            assert_eq!(check.verdict, verdict, "{changes} {check:?}");
        }
        let check = capabilities(&unit(""), &["CAP_BPF", "CAP_SYS_PTRACE"]);
        assert_eq!(check.verdict, Problem);
        assert_eq!(check.found, "as kmesh it lacks CAP_SYS_PTRACE");
    }

    #[test]
    fn limits_are_read_as_systemd_writes_them() {
        let memlock = |changes| unit(changes).unwrap().memlock();
        assert_eq!(memlock(""), None);
        assert_eq!(memlock("LimitMEMLOCK=65536"), Some(65_536));
        assert_eq!(memlock("LimitMEMLOCK=18446744073709551615"), None);
    }
}
