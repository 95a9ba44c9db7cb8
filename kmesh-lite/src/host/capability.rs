//! Whether this process may do what it must.

use std::fs;

/// Capabilities that are needed and not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "missing {}: run as root, or by a systemd unit with AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON",
    .0.join(", ")
)]
pub struct MissingCapabilities(pub Vec<&'static str>);

/// To load and attach the programs.
pub const NEEDED: [&str; 3] = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"];

/// To send a header for a client that waits for the server to speak.
pub const FOR_SERVER_FIRST: &str = "CAP_SYS_PTRACE";

/// From linux/capability.h.
const BITS: [(&str, u32); 4] = [
    ("CAP_BPF", 39),
    ("CAP_NET_ADMIN", 12),
    ("CAP_PERFMON", 38),
    ("CAP_SYS_PTRACE", 19),
];

/// Finds out before the kernel says EPERM, which names nothing.
pub fn check() -> Result<(), MissingCapabilities> {
    let missing = missing(None, &NEEDED);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(MissingCapabilities(missing))
    }
}

/// Capabilities of `wanted` that a process lacks; None is this process.
pub fn missing(process: Option<u32>, wanted: &[&'static str]) -> Vec<&'static str> {
    let process = process.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let effective = fs::read_to_string(format!("/proc/{process}/status"))
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        });
    // Without /proc there is no answer, and the kernel will have the last word anyway.
    let effective = effective.unwrap_or(u64::MAX);
    let lacks = |name: &&'static str| {
        let known = BITS.iter().find(|(known, _)| known == name);
        known.is_some_and(|(_, bit)| effective >> bit & 1 == 0)
    };
    wanted.iter().copied().filter(lacks).collect()
}
