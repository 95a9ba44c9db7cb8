//! Whether the kernel takes the programs.

use super::{Check, Finding, errno};
use crate::kernel::{self, Abilities, LoadError};
use crate::log::chain;

/// How an attempt to load the programs ended.
#[derive(Debug)]
pub enum Programs {
    /// These capabilities are missing.
    NotTried(Vec<&'static str>),
    Tried(Result<Abilities, LoadError>),
}

/// Lines of a verifier's log that say why.
const LAST: usize = 8;

/// Loads the programs, and lets go of them.
pub fn look(missing: &[&'static str]) -> Programs {
    match missing {
        [] => Programs::Tried(kernel::probe()),
        missing => Programs::NotTried(missing.to_vec()),
    }
}

impl Programs {
    pub fn are_denied(&self) -> bool {
        matches!(self, Self::Tried(Err(error)) if is_denial(error))
    }
}

fn is_denial(error: &LoadError) -> bool {
    let by_the_verifier = error.rejected().is_some_and(|(_, log)| !log.is_empty());
    errno(error) == Some(libc::EPERM) && !by_the_verifier
}

pub fn judge(programs: &Programs) -> Check {
    match programs {
        Programs::Tried(Ok(abilities)) => loaded(*abilities),
        Programs::Tried(Err(LoadError::Skipped)) => Finding::problem(
            "this kmesh-lite was built without the eBPF programs (KMESH_LITE_EBPF=skip)",
            "install or build it with them: it can check files, not run",
        ),
        Programs::Tried(Err(error)) => refusal(error),
        Programs::NotTried(missing) => Finding::unknown(
            format!("not tried without {}", missing.join(", ")),
            "run this as root",
        ),
    }
    .named("programs")
}

fn loaded(abilities: Abilities) -> Finding {
    let Abilities {
        choose_errno,
        know_mptcp,
        table_connections,
        read_sockets,
        see_living,
    } = abilities;
    let lacks = [
        (!choose_errno).then_some("without bpf_set_retval: where a connect is refused, programs see EPERM"),
        (!know_mptcp).then_some(
            "without bpf_skc_to_mptcp_sock: a Multipath TCP socket on its way to a waypoint with a header is closed, not refused",
        ),
        (!table_connections).then_some(
            "without atomic cmpxchg: connects cost more, connections are not listed, and neither `max_connections` nor `connects_per_second` is held",
        ),
        (table_connections && !see_living).then_some(
            "without bpf_iter_task_file: bytes are counted when a connection ends, not as it goes",
        ),
        (!read_sockets).then_some(
            "without bpf_skc_to_tcp_sock: a send with MSG_ZEROCOPY, or kernel TLS, before the header has left is not refused",
        ),
    ];
    let lacks: Vec<_> = lacks.into_iter().flatten().collect();
    let found = if lacks.is_empty() {
        "the kernel takes them".to_owned()
    } else {
        format!("the kernel takes them, {}", lacks.join("; "))
    };
    match (choose_errno, read_sockets) {
        (true, true) => Finding::fine(found),
        (false, true) => Finding::warning(
            found,
            "nothing, or use Linux 6.1 or newer, where programs see ECONNREFUSED or EHOSTUNREACH",
        ),
        (_, false) => Finding::warning(
            found,
            "nothing, where no waypoint has a header; or use a kernel as distributions build it",
        ),
    }
}

fn refusal(error: &LoadError) -> Finding {
    let (mut text, log) = match error.rejected() {
        Some((source, log)) => (format!("{error}: {source}"), log),
        None => (chain(error), String::new()),
    };
    let lines: Vec<_> = log.lines().filter(|line| !line.is_empty()).collect();
    for line in &lines[lines.len().saturating_sub(LAST)..] {
        text.push_str("\n  ");
        text.push_str(line.trim_end());
    }
    let todo = if is_denial(error) {
        "something forbids bpf() in spite of the capabilities: a container or unit with a filter of system \
         calls or in a user namespace, SELinux or another security module (`journalctl -k`, `ausearch -m avc`)"
    } else if log.is_empty() {
        "use Linux 5.10 or newer with CONFIG_CGROUP_BPF, CONFIG_BPF_STREAM_PARSER and CONFIG_DEBUG_INFO_BTF; \
         `journalctl -k` may say more"
    } else {
        "report this with all of the above, `uname -r` and `kmesh-lite --version`: the kernel's verifier should \
         accept the programs; another kernel version may"
    };
    Finding::problem(text, todo)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};
    use aya::programs::ProgramError;
    use aya_obj::VerifierLog;
    use std::io;

    pub fn loaded(choose_errno: bool, know_mptcp: bool) -> Programs {
        Programs::Tried(Ok(Abilities {
            choose_errno,
            know_mptcp,
            table_connections: true,
            read_sockets: true,
            see_living: true,
        }))
    }

    fn refused(errno: i32, log: String) -> Programs {
        Programs::Tried(Err(LoadError::Program {
            name: "connect4",
            source: ProgramError::LoadError {
                io_error: io::Error::from_raw_os_error(errno),
                verifier_log: VerifierLog::new(log),
            },
        }))
    }

    pub fn denied() -> Programs {
        refused(libc::EPERM, String::new())
    }

    #[test]
    fn abilities_that_an_older_kernel_lacks_are_named() {
        assert_eq!(judge(&loaded(true, true)).verdict, Fine);
        let no_mptcp = judge(&loaded(true, false));
        assert_eq!(no_mptcp.verdict, Fine);
        assert!(no_mptcp.found.contains("Multipath TCP"), "{no_mptcp:?}");
        let old = judge(&loaded(false, false));
        assert_eq!(old.verdict, Warning);
        assert!(old.found.contains("EPERM"), "{old:?}");
        let blind = judge(&Programs::Tried(Ok(Abilities {
            choose_errno: true,
            know_mptcp: true,
            table_connections: false,
            read_sockets: false,
            see_living: false,
        })));
        assert_eq!(blind.verdict, Warning);
        assert!(blind.found.contains("MSG_ZEROCOPY"), "{blind:?}");
        assert!(blind.found.contains("not listed"), "{blind:?}");
    }

    #[test]
    fn a_refusal_ends_with_the_verifiers_last_words() {
        let log = (0..100).fold(String::new(), |log, n| format!("{log}{n}: r{n} = 0\n"));
        let check = judge(&refused(libc::EINVAL, log));
        assert_eq!(check.verdict, Problem);
        let lines: Vec<_> = check.found.lines().collect();
        assert!(lines[0].contains("connect4"), "{lines:?}");
        assert_eq!(lines.len(), 1 + LAST);
        assert_eq!(lines[LAST], "  99: r99 = 0");
        assert!(check.todo.unwrap().contains("report"));
    }

    #[test]
    fn a_denial_is_no_verifiers_business() {
        assert!(denied().are_denied());
        assert!(judge(&denied()).todo.unwrap().contains("SELinux"));
        let unsafe_program = refused(libc::EPERM, "0: r1 = 0\n".to_owned());
        assert!(!unsafe_program.are_denied());
    }

    #[test]
    fn without_capabilities_nothing_is_tried() {
        let check = judge(&Programs::NotTried(vec!["CAP_BPF"]));
        assert_eq!(check.verdict, Unknown);
        assert!(check.found.contains("CAP_BPF"));
    }
}
