//! The descriptors that systemd keeps for the service.

use super::unit::{NoUnit, UnitProperties, unknown};
use super::{Check, Finding};
use crate::api::Status;
use crate::control::ClientError;
use crate::kernel::kept_for;

/// How many descriptors a daemon that routes hands to the store, at least; None if none does.
pub fn look(status: &Result<Status, ClientError>) -> Option<usize> {
    let attached = &status.as_ref().ok()?.datapath.attached;
    // One more is the last good configuration.
    (!attached.is_empty()).then(|| kept_for(attached.len()) + 1)
}

pub fn judge(unit: &Result<UnitProperties, NoUnit>, least: Option<usize>) -> Check {
    let Ok(unit) = unit else {
        return unknown("fd_store");
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
            "look for `FileDescriptorStoreMax` and `cannot keep` in `journalctl -u kmesh-lite`: raise that number as it says, \
             or set NotifyAccess=main (`systemctl edit kmesh-lite`); then restart",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Warning};
    use crate::doctor::unit::tests::unit;

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
            let check = judge(&unit(changes), least);
            assert_eq!(check.verdict, verdict, "{changes} {check:?}");
        }
    }
}
