//! What the kernel forbids beyond capabilities.

use super::programs::Programs;
use super::{Check, Finding};

/// `text` is that of /sys/kernel/security/lockdown; None if there is none.
pub fn lockdown(text: Option<&str>, programs: &Programs) -> Check {
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
        Programs::Loaded { .. } => Finding::fine("confidentiality, which lets the programs be"),
        Programs::Refused(_) => Finding::problem(
            "confidentiality, which forbids BPF programs to read the kernel's memory",
            "start the kernel with lockdown=integrity",
        ),
        Programs::NotTried(_) | Programs::NotBuilt => Finding::warning(
            "confidentiality, which forbids BPF programs to read the kernel's memory",
            "run this as root to see whether the programs are affected",
        ),
    }
    .named("lockdown")
}

/// What security modules are there and whether they enforce.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Of /sys/kernel/security/lsm: names with commas.
    pub list: Option<String>,
    /// Of /sys/fs/selinux/enforce.
    pub selinux: Option<String>,
    /// Of /sys/module/apparmor/parameters/enabled.
    pub apparmor: Option<String>,
}

/// A note, unless something was denied.
pub fn modules(modules: &Modules, programs: &Programs) -> Check {
    let is = |text: &Option<String>, word| text.as_deref().map(str::trim) == Some(word);
    let mut notes = Vec::new();
    if let Some(list) = modules.list.as_deref().map(str::trim) {
        notes.push(list.replace(',', ", "));
    }
    if is(&modules.selinux, "1") {
        notes.push("SELinux enforces".to_owned());
    }
    if is(&modules.apparmor, "Y") {
        notes.push("AppArmor is on".to_owned());
    }
    let suspect = notes.len() > usize::from(modules.list.is_some());
    if notes.is_empty() {
        notes.push("none that this process can see".to_owned());
    }
    let found = notes.join("; ");
    if suspect && programs.were_denied() {
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
    use crate::doctor::programs::Refusal;

    const LOADED: Programs = Programs::Loaded {
        choose_errno: true,
        know_mptcp: true,
    };

    fn denied() -> Programs {
        Programs::Refused(Refusal {
            denied: true,
            ..Refusal::default()
        })
    }

    #[test]
    fn lockdown_counts_where_it_may_be_why() {
        let strict = Some("none integrity [confidentiality]\n");
        for (text, programs, verdict) in [
            (None, LOADED, Fine),
            (Some("[none] integrity confidentiality\n"), denied(), Fine),
            (Some("none [integrity] confidentiality\n"), denied(), Fine),
            (strict, LOADED, Fine),
            (strict, denied(), Problem),
            (strict, Programs::NotTried(vec!["CAP_BPF"]), Warning),
        ] {
            let check = lockdown(text, &programs);
            assert_eq!(check.verdict, verdict, "{text:?} {programs:?}");
        }
    }

    #[test]
    fn modules_are_a_note_until_something_is_denied() {
        let enforcing = Modules {
            list: Some("lockdown,capability,selinux\n".to_owned()),
            selinux: Some("1\n".to_owned()),
            apparmor: None,
        };
        let check = modules(&enforcing, &LOADED);
        assert_eq!(check.verdict, Fine);
        assert_eq!(
            check.found,
            "lockdown, capability, selinux; SELinux enforces"
        );
        assert_eq!(modules(&enforcing, &denied()).verdict, Warning);
        assert_eq!(modules(&Modules::default(), &denied()).verdict, Fine);
        let apparmor = Modules {
            apparmor: Some("Y\n".to_owned()),
            ..Modules::default()
        };
        assert_eq!(modules(&apparmor, &denied()).verdict, Warning);
    }
}
