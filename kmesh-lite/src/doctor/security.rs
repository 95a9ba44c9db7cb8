//! Rules of the kernel beyond capabilities: lockdown and security modules.

use super::programs::Programs;
use super::{Check, Finding, text};
use crate::kernel::LoadError;

/// Texts of the kernel's files, as far as there are any.
#[derive(Clone, Debug, Default)]
pub struct SecurityFiles {
    /// Of /sys/kernel/security/lockdown.
    lockdown: Option<String>,
    /// Of /sys/kernel/security/lsm: names with commas.
    modules: Option<String>,
    /// Of /sys/fs/selinux/enforce.
    selinux: Option<String>,
    /// Of /sys/module/apparmor/parameters/enabled.
    apparmor: Option<String>,
}

pub fn look() -> SecurityFiles {
    SecurityFiles {
        lockdown: text("/sys/kernel/security/lockdown"),
        modules: text("/sys/kernel/security/lsm"),
        selinux: text("/sys/fs/selinux/enforce"),
        apparmor: text("/sys/module/apparmor/parameters/enabled"),
    }
}

pub fn judge(files: &SecurityFiles, programs: &Programs) -> [Check; 2] {
    [
        lockdown(files.lockdown.as_deref(), programs),
        modules(files, programs),
    ]
}

fn lockdown(text: Option<&str>, programs: &Programs) -> Check {
    let Some(text) = text else {
        return Finding::fine("none that this process can see").named("lockdown");
    };
    // One of the words is in brackets: the one that holds.
    let mode = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("unknown", |(mode, _)| mode);
    match programs {
        _ if mode != "confidentiality" => Finding::fine(mode),
        // Our programs read no memory of the kernel's by themselves.
        Programs::Tried(Ok(_)) => Finding::fine("confidentiality, which lets the programs be"),
        Programs::NotTried(_) | Programs::Tried(Err(LoadError::Skipped)) => Finding::warning(
            "confidentiality, which forbids BPF programs to read the kernel's memory",
            "run this as root to see whether the programs are affected",
        ),
        Programs::Tried(Err(_)) => Finding::problem(
            "confidentiality, which forbids BPF programs to read the kernel's memory",
            "start the kernel with lockdown=integrity",
        ),
    }
    .named("lockdown")
}

/// A note, unless something was denied.
fn modules(files: &SecurityFiles, programs: &Programs) -> Check {
    let is = |text: &Option<String>, word| text.as_deref().map(str::trim) == Some(word);
    let mut notes = Vec::new();
    if let Some(list) = files.modules.as_deref().map(str::trim) {
        notes.push(list.replace(',', ", "));
    }
    if is(&files.selinux, "1") {
        notes.push("SELinux enforces".to_owned());
    }
    if is(&files.apparmor, "Y") {
        notes.push("AppArmor is on".to_owned());
    }
    let suspect = notes.len() > usize::from(files.modules.is_some());
    if notes.is_empty() {
        notes.push("none that this process can see".to_owned());
    }
    let found = notes.join("; ");
    if suspect && programs.are_denied() {
        Finding::warning(
            format!("{found}; and the programs were denied"),
            "look for denials: `ausearch -m avc -ts recent`, `journalctl -k -g apparmor`",
        )
    } else {
        Finding::fine(found)
    }
    .named("security_modules")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Warning};
    use crate::doctor::programs::tests::{denied, loaded};

    #[test]
    fn lockdown_counts_where_it_may_be_why() {
        let strict = Some("none integrity [confidentiality]\n");
        for (text, programs, verdict) in [
            (None, loaded(true, true), Fine),
            (Some("[none] integrity confidentiality\n"), denied(), Fine),
            (Some("none [integrity] confidentiality\n"), denied(), Fine),
            (strict, loaded(true, true), Fine),
            (strict, denied(), Problem),
            (strict, Programs::NotTried(vec!["CAP_BPF"]), Warning),
        ] {
            let check = lockdown(text, &programs);
            assert_eq!(check.verdict, verdict, "{text:?} {programs:?}");
        }
    }

    #[test]
    fn modules_are_a_note_until_something_is_denied() {
        let enforcing = SecurityFiles {
            modules: Some("lockdown,capability,selinux\n".to_owned()),
            selinux: Some("1\n".to_owned()),
            ..SecurityFiles::default()
        };
        let check = modules(&enforcing, &loaded(true, true));
        assert_eq!(check.verdict, Fine);
        assert_eq!(
            check.found,
            "lockdown, capability, selinux; SELinux enforces"
        );
        assert_eq!(modules(&enforcing, &denied()).verdict, Warning);
        assert_eq!(modules(&SecurityFiles::default(), &denied()).verdict, Fine);
        let apparmor = SecurityFiles {
            apparmor: Some("Y\n".to_owned()),
            ..SecurityFiles::default()
        };
        assert_eq!(modules(&apparmor, &denied()).verdict, Warning);
    }
}
