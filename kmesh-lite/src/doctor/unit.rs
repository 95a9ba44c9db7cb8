//! What systemd knows of the service: its state, its capabilities, and the descriptors it keeps.

use super::{Check, Finding};
use std::collections::BTreeMap;

/// What to ask for with `systemctl show`.
pub const PROPERTIES: &[&str] = &[
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
pub struct Unit(BTreeMap<String, String>);

/// What there is to say about the unit.
#[derive(Clone, Debug)]
pub enum Service {
    Known(Unit),
    /// Why there is nothing to say.
    Unknown(String),
}

impl Unit {
    /// Lines such as `NRestarts=0`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    pub fn is_installed(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    pub fn main_pid(&self) -> Option<u32> {
        self.get("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    /// Whom the service runs as.
    pub fn user(&self) -> &str {
        match self.get("User") {
            "" => "root",
            user => user,
        }
    }

    /// Those of `needed` that the service will lack.
    pub fn missing<'a>(&self, needed: &[&'a str]) -> Vec<&'a str> {
        let list = match self.user() {
            "root" | "0" => "CapabilityBoundingSet",
            _ => "AmbientCapabilities",
        };
        let has = |name: &str, list: &str| {
            let mut all = self.get(list).split_whitespace();
            all.any(|word| word.eq_ignore_ascii_case(name))
        };
        // What the bounding set lacks, no ambient capability brings back.
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

pub fn state(service: &Service) -> Check {
    let unit = match service {
        Service::Known(unit) => unit,
        Service::Unknown(why) => {
            return Finding::unknown(
                why,
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
            format!("{state}, restarted {restarts} times"),
            "it does not stay up: `journalctl -u kmesh-lite -n 50` says why",
        ),
        _ if restarts > 0 => Finding::warning(
            format!("{state}, restarted {restarts} times since it was started by hand"),
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

pub fn capabilities(service: &Service, needed: &[&str]) -> Check {
    let unit = match service {
        Service::Known(unit) => unit,
        Service::Unknown(_) => return unknown("unit_capabilities"),
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

/// `least`: what a daemon that routes hands to the store, if one does.
pub fn store(service: &Service, least: Option<usize>) -> Check {
    let unit = match service {
        Service::Known(unit) => unit,
        Service::Unknown(_) => return unknown("fd_store"),
    };
    let kept = unit.number("NFileDescriptorStore").unwrap_or(0);
    let most = unit.number("FileDescriptorStoreMax").unwrap_or(0);
    let least = least.map_or(0, |least| least as u64);
    let larger = "`systemctl edit kmesh-lite`: [Service] FileDescriptorStoreMax=512; then restart";
    let mut findings = vec![match kept {
        _ if most == 0 => Finding::warning(
            "nothing is kept: a crash or restart interrupts routing",
            larger,
        ),
        _ if kept >= most => Finding::warning(
            format!(
                "all {most} places are taken: what else there is to keep is lost in a crash or restart"
            ),
            larger,
        ),
        _ if kept < least => Finding::warning(
            format!(
                "{kept} of {most} places are taken, where tables and links need {least}: a crash or restart \
                 interrupts routing"
            ),
            "look for `cannot keep` in `journalctl -u kmesh-lite`; NotifyAccess=main is needed; then restart",
        ),
        0 => Finding::fine(format!("empty, with room for {most}")),
        _ => Finding::fine(format!("{kept} of {most} places, links among them")),
    }];
    if matches!(unit.get("FileDescriptorStorePreserve"), "yes") {
        findings.push(Finding::warning(
            "FileDescriptorStorePreserve=yes: links outlive `systemctl stop` and go on with old tables",
            "`systemctl edit kmesh-lite`: [Service] FileDescriptorStorePreserve=restart",
        ));
    }
    Check::of("fd_store", findings)
}

fn unknown(name: &'static str) -> Check {
    Finding::unknown("systemd does not say", "see `unit`").named(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    const NEEDED: &[&str] = &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];

    /// As systemd 252 answers for a service that is well, with changes.
    fn unit(changes: &str) -> Service {
        let usual = "\
            LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=7\n\
            NRestarts=0\nWatchdogUSec=1min\nUser=kmesh\n\
            AmbientCapabilities=cap_net_admin cap_perfmon cap_bpf\n\
            CapabilityBoundingSet=cap_net_admin cap_perfmon cap_bpf\n\
            PrivateUsers=no\nSystemCallFilter=accept bpf close\nLimitMEMLOCK=infinity\n\
            NFileDescriptorStore=20\nFileDescriptorStoreMax=512\n";
        Service::Known(Unit::parse(&format!("{usual}{changes}")))
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
        let unknown = state(&Service::Unknown("no systemd".to_owned()));
        assert_eq!(unknown.verdict, Unknown);
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
            let check = capabilities(&unit(changes), NEEDED);
            assert_eq!(check.verdict, verdict, "{changes} {check:?}");
        }
        let check = capabilities(&unit(""), &["CAP_BPF", "CAP_SYS_PTRACE"]);
        assert_eq!(check.verdict, Problem);
        assert_eq!(check.found, "as kmesh it lacks CAP_SYS_PTRACE");
    }

    #[test]
    fn the_store_has_room_and_what_a_daemon_needs() {
        for (changes, least, verdict) in [
            ("", Some(20), Fine),
            ("NFileDescriptorStore=0", None, Fine),
            ("NFileDescriptorStore=16", Some(20), Warning),
            ("FileDescriptorStoreMax=0", None, Warning),
            ("FileDescriptorStoreMax=20", Some(20), Warning),
            ("FileDescriptorStorePreserve=yes", None, Warning),
            ("FileDescriptorStorePreserve=restart", None, Fine),
        ] {
            let check = store(&unit(changes), least);
            assert_eq!(check.verdict, verdict, "{changes} {check:?}");
        }
    }

    #[test]
    fn limits_are_read_as_systemd_writes_them() {
        let memlock = |changes| match unit(changes) {
            Service::Known(unit) => unit.memlock(),
            Service::Unknown(_) => unreachable!(),
        };
        assert_eq!(memlock(""), None);
        assert_eq!(memlock("LimitMEMLOCK=65536"), Some(65_536));
        assert_eq!(memlock("LimitMEMLOCK=18446744073709551615"), None);
    }
}
