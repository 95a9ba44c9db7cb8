//! Whether the kernel takes the programs.

use super::{Check, Finding};

/// What came of loading them.
#[derive(Clone, Debug)]
pub enum Programs {
    Loaded {
        /// Whether they choose the error of a refused connect().
        choose_errno: bool,
        /// Whether they tell sockets of Multipath TCP.
        know_mptcp: bool,
    },
    Refused(Refusal),
    /// This program has none.
    NotBuilt,
    /// These capabilities are missing.
    NotTried(Vec<&'static str>),
}

/// Why they were not loaded.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// With its causes, without the verifier's log.
    pub error: String,
    /// The verifier's.
    pub log: String,
    pub denied: bool,
}

/// Lines of a verifier's log that say why.
const LAST: usize = 8;

impl Programs {
    pub fn were_denied(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.denied)
    }

    pub fn check(&self) -> Check {
        match self {
            Self::Loaded {
                choose_errno: true,
                know_mptcp,
            } => Finding::fine(format!("the kernel takes them{}", mptcp(*know_mptcp))),
            Self::Loaded {
                choose_errno: false,
                know_mptcp,
            } => Finding::warning(
                format!(
                    "the kernel takes them, without bpf_set_retval: where a connect is refused, programs see \
                     EPERM{}",
                    mptcp(*know_mptcp)
                ),
                "nothing, or use Linux 6.1 or newer, where programs see ECONNREFUSED or EHOSTUNREACH",
            ),
            Self::Refused(refusal) => Finding::problem(refusal.text(), refusal.todo()),
            Self::NotBuilt => Finding::problem(
                "this kmesh-lite was built without the eBPF programs (KMESH_LITE_EBPF=skip)",
                "install or build it with them: it can check files, not run",
            ),
            Self::NotTried(missing) => Finding::unknown(
                format!("not tried without {}", missing.join(", ")),
                "run this as root",
            ),
        }
        .named("programs")
    }
}

fn mptcp(known: bool) -> &'static str {
    if known {
        ""
    } else {
        "; without bpf_skc_to_mptcp_sock: a Multipath TCP socket on its way to a waypoint with a header is closed, not refused"
    }
}

impl Refusal {
    fn text(&self) -> String {
        let mut text = self.error.clone();
        let log: Vec<_> = self.log.lines().filter(|line| !line.is_empty()).collect();
        for line in &log[log.len().saturating_sub(LAST)..] {
            text.push_str("\n  ");
            text.push_str(line.trim_end());
        }
        text
    }

    fn todo(&self) -> &'static str {
        if self.denied {
            "something forbids bpf() in spite of the capabilities: a container or unit with a filter of system \
             calls or in a user namespace, SELinux or another security module (`journalctl -k`, `ausearch -m avc`)"
        } else if self.log.is_empty() {
            "use Linux 5.10 or newer with CONFIG_CGROUP_BPF, CONFIG_BPF_STREAM_PARSER and CONFIG_DEBUG_INFO_BTF; \
             `journalctl -k` may say more"
        } else {
            "report this with all of the above, `uname -r` and `kmesh-lite --version`: the kernel's verifier should \
             accept the programs; another kernel version may"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    #[test]
    fn what_an_older_kernel_lacks_is_named() {
        let loaded = |choose_errno, know_mptcp| {
            let loaded = Programs::Loaded {
                choose_errno,
                know_mptcp,
            };
            loaded.check()
        };
        assert_eq!(loaded(true, true).verdict, Fine);
        let no_mptcp = loaded(true, false);
        assert_eq!(no_mptcp.verdict, Fine);
        assert!(no_mptcp.found.contains("Multipath TCP"), "{no_mptcp:?}");
        let old = loaded(false, false);
        assert_eq!(old.verdict, Warning);
        assert!(old.found.contains("EPERM"), "{old:?}");
    }

    #[test]
    fn a_refusal_ends_with_the_verifiers_last_words() {
        let log = (0..100).fold(String::new(), |log, n| format!("{log}{n}: r{n} = 0\n"));
        let refusal = Refusal {
            error: "the kernel refused program `connect4`: Invalid argument".to_owned(),
            log,
            denied: false,
        };
        let check = Programs::Refused(refusal).check();
        assert_eq!(check.verdict, Problem);
        let lines: Vec<_> = check.found.lines().collect();
        assert!(lines[0].contains("connect4"), "{lines:?}");
        assert_eq!(lines.len(), 1 + LAST);
        assert_eq!(lines[LAST], "  99: r99 = 0");
        assert!(check.todo.unwrap().contains("report"));
    }

    #[test]
    fn a_denial_is_no_verifiers_business() {
        let denied = Programs::Refused(Refusal {
            denied: true,
            ..Refusal::default()
        });
        assert!(denied.were_denied());
        assert!(denied.check().todo.unwrap().contains("SELinux"));
    }

    #[test]
    fn without_capabilities_nothing_is_tried() {
        let check = Programs::NotTried(vec!["CAP_BPF"]).check();
        assert_eq!(check.verdict, Unknown);
        assert!(check.found.contains("CAP_BPF"));
    }
}
