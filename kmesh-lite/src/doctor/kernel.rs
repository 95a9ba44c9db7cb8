//! The kernel as it was built and started.

use super::unit::{NoUnit, UnitProperties};
use super::{Check, Finding, text};
use crate::kernel::{has_bpf, has_loopback, has_membarrier};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::fs::File;
use std::io;

/// The oldest release that the programs are made for.
const OLDEST: Release = Release(5, 10);
/// From this release on the programs can close a stream whose data leaves before its header.
const CLOSES: Release = Release(5, 15);
/// From here on BPF has its own account of memory.
const ACCOUNTED: Release = Release(5, 11);

/// The first two numbers of a kernel's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release(u32, u32);

impl Release {
    /// From /proc/sys/kernel/osrelease.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        Some(Self(number()?, number()?))
    }
}

#[derive(Debug)]
pub struct KernelFeatures {
    release: String,
    bpf: bool,
    /// Whether types of the kernel can be read.
    btf: io::Result<()>,
    membarrier: bool,
    /// In bytes; None is no limit.
    memlock: Option<u64>,
    loopback: io::Result<()>,
}

pub fn look(unit: &Result<UnitProperties, NoUnit>) -> KernelFeatures {
    let own_limit = || {
        let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
        Some(limit).filter(|limit| *limit != RLIM_INFINITY)
    };
    KernelFeatures {
        release: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        bpf: has_bpf(),
        btf: File::open("/sys/kernel/btf/vmlinux").map(drop),
        membarrier: has_membarrier(),
        memlock: unit
            .as_ref()
            .map_or_else(|_| own_limit(), UnitProperties::memlock),
        loopback: has_loopback(),
    }
}

pub fn judge(kernel: &KernelFeatures) -> [Check; 5] {
    [
        release(&kernel.release, kernel.bpf),
        btf(&kernel.btf),
        grace_period(kernel.membarrier),
        memlock(&kernel.release, kernel.memlock),
        loopback(&kernel.loopback),
    ]
}

fn release(text: &str, has_bpf: bool) -> Check {
    let text = text.trim();
    match Release::parse(text) {
        _ if !has_bpf => Finding::problem(
            format!("{text}, without the system call bpf()"),
            "use a kernel with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF, as distributions build it",
        ),
        None => Finding::unknown(
            format!("{text:?} is no release of Linux"),
            "mount /proc; 5.10 or newer is needed",
        ),
        Some(release) if release < OLDEST => Finding::problem(
            format!("{text} is too old"),
            "use Linux 5.10 or newer; before 6.1 programs see EPERM where a connect is refused",
        ),
        Some(release) if release < CLOSES => Finding::warning(
            format!(
                "{text}: data that leaves before its header, by TCP Fast Open or a send that began before the \
                 connection stood, reaches the waypoint without it and is counted as header_leaked; `server_first` \
                 does not work"
            ),
            "nothing, where no waypoint has a header; or use Linux 5.15 or newer, which closes such a stream",
        ),
        Some(_) => Finding::fine(text),
    }
    .named("kernel")
}

fn btf(readable: &io::Result<()>) -> Check {
    match readable {
        Ok(()) => Finding::fine("/sys/kernel/btf/vmlinux"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::problem(
            "there is no /sys/kernel/btf/vmlinux",
            "mount /sys, or use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions build it",
        ),
        Err(error) => Finding::unknown(
            format!("cannot read /sys/kernel/btf/vmlinux: {error}"),
            "run this as root",
        ),
    }
    .named("btf")
}

fn memlock(release: &str, limit: Option<u64>) -> Check {
    let counts = Release::parse(release).is_some_and(|release| release < ACCOUNTED);
    match limit {
        Some(limit) if counts => Finding::problem(
            format!("before Linux 5.11 tables count as locked memory, of which {limit} bytes are allowed"),
            "set LimitMEMLOCK=infinity in the unit (`systemctl edit kmesh-lite`), or `ulimit -l unlimited`",
        ),
        _ if counts => Finding::fine("no limit"),
        _ => Finding::fine("does not count since Linux 5.11"),
    }
    .named("memlock")
}

fn grace_period(membarrier: bool) -> Check {
    let way = if membarrier {
        "membarrier()"
    } else {
        "membarrier() is refused here (nohz_full, or a sandbox); an update of a map of maps waits instead"
    };
    Finding::fine(way).named("grace_period")
}

fn loopback(opened: &io::Result<()>) -> Check {
    match opened {
        Ok(()) => Finding::fine("127.0.0.1 answers"),
        Err(error) => Finding::problem(
            format!("no connection over 127.0.0.1, which the daemon makes when it starts: {error}"),
            "`ip link set lo up`; a firewall must let loopback through",
        ),
    }
    .named("loopback")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict::{Fine, Problem, Unknown, Warning};

    #[test]
    fn releases_are_compared_by_number() {
        for (text, verdict) in [
            ("6.18.44-cloud-amd64\n", Fine),
            ("5.15.0-91-generic\n", Fine),
            ("10.0-rc1", Fine),
            ("5.9.0", Problem),
            ("5.10.0-30-amd64", Warning),
            ("", Unknown),
        ] {
            assert_eq!(release(text, true).verdict, verdict, "{text}");
        }
        let without = release("6.1.0", false);
        assert_eq!(without.verdict, Problem);
        assert!(without.found.contains("bpf()"), "{without:?}");
    }

    #[test]
    fn types_of_the_kernel_must_be_there() {
        assert_eq!(btf(&Ok(())).verdict, Fine);
        assert_eq!(btf(&Err(io::ErrorKind::NotFound.into())).verdict, Problem);
        let denied = btf(&Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.verdict, Unknown);
    }

    #[test]
    fn locked_memory_counts_on_old_kernels_only() {
        assert_eq!(memlock("5.10.0", Some(65_536)).verdict, Problem);
        assert_eq!(memlock("5.10.0", None).verdict, Fine);
        assert_eq!(memlock("5.15.0", Some(65_536)).verdict, Fine);
    }

    #[test]
    fn loopback_must_be_up() {
        assert_eq!(loopback(&Ok(())).verdict, Fine);
        let down = loopback(&Err(io::Error::from_raw_os_error(libc::ENETUNREACH)));
        assert_eq!(down.verdict, Problem);
        assert!(down.todo.unwrap().contains("ip link set lo up"));
    }
}
